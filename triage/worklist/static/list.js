// All that makes a list live: loaded as one, so that a page that says it is ready is.

import "./worklist.js";
import "./claims.js";
import "./filters.js";
