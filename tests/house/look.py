"""Print what has grown: long files, long functions, many parameters. A reason to think again."""

import ast
import sys
from pathlib import Path

PACKAGES = ("triage", "workers", "models", "db")
LONG_FILE, LONG_FUNCTION, MANY_PARAMETERS = 260, 40, 6


def main() -> None:
    """Print the offenders, longest first."""
    found = []
    for path in sorted(one for package in PACKAGES for one in Path(package).rglob("*.py")):
        text = path.read_text()
        if (lines := text.count("\n")) > LONG_FILE:
            found.append((lines, f"{path}: {lines} lines"))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                parameters = len(node.args.args) + len(node.args.kwonlyargs)
                if length > LONG_FUNCTION or parameters > MANY_PARAMETERS:
                    place = f"{path}:{node.lineno} {node.name}"
                    found.append((length, f"{place}: {length} lines, {parameters} parameters"))
    sys.stdout.writelines(line + "\n" for _, line in sorted(found, reverse=True))


if __name__ == "__main__":
    main()
