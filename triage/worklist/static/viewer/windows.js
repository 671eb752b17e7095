// Which windows a series offers: five for CT, else what its header names, else all that is there.

import { automatic } from "./lut.js";

const CT = [
  ["soft tissue", 40, 400],
  ["lung", -600, 1500],
  ["liver", 90, 150],
  ["bone", 480, 2500],
  ["brain", 40, 80],
].map(([name, centre, width]) => ({ name, centre, width, fn: "LINEAR" }));

export const WHOLE = { centre: 0.5, width: 1, fn: "LINEAR_EXACT", name: "VOI LUT" };
export const COLOUR = { centre: 127.5, width: 255, fn: "LINEAR_EXACT", name: "colour" };

const stated = (look) => look.windows.map(({ centre, width, name, function: fn }, at) => (
  { centre, width, fn, name: name || `header ${at + 1}` }
));

// What keys 1 to 5 choose.
export function presets(look, modality) {
  if (look.colour) return [COLOUR];
  if (look.table) return [WHOLE, ...stated(look), { name: "auto", auto: true }].slice(0, 5);
  if (modality === "CT" && look.unit === "HU") return CT;
  return [...stated(look), { name: "auto", auto: true }].slice(0, 5);
}

// What a picture is shown in before anybody says otherwise.
export function first(look, picture) {
  if (picture.facts.samples === 3) return COLOUR;
  if (picture.facts.voi) return WHOLE;
  return stated(look)[0] ?? automatic(picture);
}

export function chosen(preset, picture) {
  return preset.auto ? automatic(picture) : preset;
}
