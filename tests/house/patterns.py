"""Patterns that have let attackers in elsewhere. Each rule gives the lines where it is broken.

Only shapes that a parser can judge: what a name holds is not followed further than the function it
is read in.
"""

import ast
import re
from collections.abc import Iterator

from pydicom.datadict import keyword_dict

from tests.house.source import calls, functions, method

CODE = frozenset({"eval", "exec", "compile", "__import__"})
UNPICKLES = frozenset({"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"})
LOADERS = frozenset(
    {"torch.load", "torch.save", "yaml.load", "yaml.unsafe_load", "yaml.full_load",
     "numpy.load", "np.load", "pandas.read_pickle"}
)  # fmt: skip
SHELLS = frozenset({"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"})
SQL = re.compile(r"\b(?:select|insert|update|delete|create|drop|alter|grant|pragma)\b", re.I)
RUNS_SQL = frozenset({"execute", "executemany", "executescript", "exec_driver_sql", "text"})
BULK = frozenset({"PixelData", "Rows", "Columns", "NumberOfFrames", "file_meta"})
TEXT = frozenset(
    {
        "patient_name", "patient_id", "accession_number", "study_description",
        "series_description", "study_id", "institution_name", "station_name", "protocol_name",
        "body_part_examined", "modality", "manufacturer", "referring_physician_name",
    }
)  # fmt: skip
"""Nouns of ours that hold text as a data set had it. UIDs are not among them: a UID was judged
digit by digit where it came in."""
PATHS = frozenset({"Path", "PurePath", "open", "mkdir", "joinpath", "with_name", "with_stem"})
URLS = re.compile(r"\w*(?:Retrieve|Provider|Retrieval|Redirect|Presentation)UR[LI]")


def runs_code(tree: ast.Module) -> Iterator[int]:
    """Find what turns text or bytes into running code: eval, pickle, a loader that unpickles."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = {one.name.split(".")[0] for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            found = {(node.module or "").split(".")[0]}
            found |= {f"{node.module}.{one.name}" for one in node.names}
        else:
            continue
        if found & (UNPICKLES | LOADERS):
            yield node.lineno
    for call in calls(tree):
        name = _dotted(call.func)
        allows = any(
            word.arg == "allow_pickle" and ast.unparse(word.value) != "False"
            for word in call.keywords
        )
        is_safe = name in {"np.load", "numpy.load"} and _says(call, "allow_pickle", "False")
        if name in CODE or allows or (name in LOADERS and not is_safe):
            yield call.lineno


def _dotted(node: ast.AST) -> str:
    """Give ``torch.load`` of such a name; of anything longer, what stands behind its last call."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _says(call: ast.Call, word: str, value: str) -> bool:
    return any(one.arg == word and ast.unparse(one.value) == value for one in call.keywords)


def opens_a_shell(tree: ast.Module) -> Iterator[int]:
    """Find commands that a shell would take apart."""
    for call in calls(tree):
        if _dotted(call.func) in SHELLS or _says(call, "shell", "True"):
            yield call.lineno


def trusts_anybody(tree: ast.Module) -> Iterator[int]:
    """Find connections that look at no certificate, and files under names that can be foreseen."""
    for call in calls(tree):
        name = _dotted(call.func)
        is_blind = _says(call, "verify", "False") or name in {
            "ssl._create_unverified_context",
            "tempfile.mktemp",
        }
        if is_blind:
            yield call.lineno


def sql_from_text(tree: ast.Module) -> Iterator[int]:
    """Find statements glued together: f-strings, +, % and format that hold a word of SQL."""
    for call in calls(tree):
        name = method(call) or _dotted(call.func)
        if name in RUNS_SQL and any(_glued(one) for one in call.args):
            yield call.lineno
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value and _glued(node.value):
            yield node.lineno


def _glued(node: ast.AST) -> bool:
    """Tell whether text is made of parts that are not all written here."""
    if isinstance(node, ast.JoinedStr):
        written = " ".join(str(one.value) for one in node.values if isinstance(one, ast.Constant))
        return len(node.values) > 1 and _is_sql(written)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        parts = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)]
        is_constant = all(
            isinstance(one, ast.Constant | ast.BinOp | ast.Add | ast.JoinedStr)
            for one in ast.walk(node)
        )
        return not is_constant and any(_is_sql(str(one)) for one in parts)
    if isinstance(node, ast.Call) and method(node) == "format":
        assert isinstance(node.func, ast.Attribute)
        text = node.func.value
        return isinstance(text, ast.Constant) and _is_sql(str(text.value))
    return False


def _is_sql(text: str) -> bool:
    """Tell SQL from prose: it begins with a word of SQL."""
    return bool(SQL.match(text.strip()))


def path_from_data(tree: ast.Module) -> Iterator[int]:
    """Find paths made of what a data set says: its text is never a file's or folder's name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and _is_path(node):
            parts: list[ast.expr] = [node.right]
        elif isinstance(node, ast.Call) and (method(node) or _dotted(node.func)) in PATHS:
            parts = list(node.args)
        else:
            continue
        if any(_from_data(one) for one in parts):
            yield node.lineno


def _is_path(node: ast.BinOp) -> bool:
    """Tell a path from a quotient, as far as a reader of one line can."""
    names = ast.unparse(node.left).lower()
    is_text = isinstance(node.right, ast.Constant | ast.JoinedStr)
    return is_text or any(word in names for word in ("path", "folder", "dir", "state", "spool"))


def url_from_data(tree: ast.Module) -> Iterator[int]:
    """Find addresses that a data set names, read at all: nothing of ours may follow one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            text = node.attr
        elif isinstance(node, ast.Constant):
            text = str(node.value)
        else:
            continue
        if URLS.fullmatch(text):
            yield node.lineno


def _from_data(node: ast.AST) -> bool:
    return any(_reads(one) for one in ast.walk(node))


def _reads(node: ast.AST) -> bool:
    """Tell whether an expression reads an attribute of a data set, or a noun made of one."""
    if isinstance(node, ast.Attribute):
        return (node.attr in keyword_dict and node.attr not in BULK) or node.attr in TEXT
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return str(node.slice.value) in keyword_dict
    if isinstance(node, ast.Call) and method(node) == "get" and node.args:
        first = node.args[0]
        return isinstance(first, ast.Constant) and str(first.value) in keyword_dict
    return isinstance(node, ast.Name) and node.id in TEXT


def quiet_assertions(tree: ast.Module) -> Iterator[int]:
    """Find asserts that guard: python -O takes them out. Those for the type checker may stay."""
    for function in functions(tree):
        for node in ast.walk(function):
            if isinstance(node, ast.Assert) and not _for_types(node.test):
                yield node.lineno


def _for_types(test: ast.expr) -> bool:
    text = ast.unparse(test)
    return text.startswith("isinstance(") or text.endswith("is not None")
