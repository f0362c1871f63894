"""Writes dualmd/report_types.py: the types of report.json as dataclasses, from its JSON schema.

    python3 generate.py [--check]

With --check nothing is written, and the exit status is 1 if the file is not what the schema gives.
"""

import json
import keyword
import sys
import textwrap
from pathlib import Path

HERE = Path(__file__).parent
SCHEMA = HERE.parent / "docs/schema/report.schema.json"
OUT = HERE / "dualmd/report_types.py"
SIMPLE = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}
# What a class can do beside holding its fields: dualmd/reading.py.
ALSO = {"ModelReport": "ModelReading", "AttackResult": "AttackReading"}
HEAD = '''"""The types of report.json. Written by python/generate.py from docs/schema/report.schema.json: do not edit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .reading import AttackReading, ModelReading, Record

'''


def kind(schema):
    """The Python type of a schema, as text."""
    if schema is True or schema == {}:
        return "Any"
    if "$ref" in schema:
        return schema["$ref"].rsplit("/", 1)[1]
    if "anyOf" in schema:
        return " | ".join(kind(s) for s in schema["anyOf"])
    if "enum" in schema or "const" in schema or "oneOf" in schema:
        return "str"
    types = schema.get("type")
    if types is None:
        return "Any"
    if isinstance(types, list):
        return " | ".join(kind({**schema, "type": t}) for t in types)
    if types == "null":
        return "None"
    if types == "array":
        items = kind(schema.get("items", {}))
        length = schema.get("minItems")
        if length is not None and length == schema.get("maxItems"):
            return f"tuple[{', '.join([items] * length)}]"
        return f"list[{items}]"
    if types == "object":
        return f"dict[str, {kind(schema.get('additionalProperties', {}))}]"
    return SIMPLE[types]


def text(words, indent):
    """A docstring."""
    words = " ".join((words or "").split()).replace("\\", "\\\\")
    lines = textwrap.wrap(words, 120 - len(indent) - 6) or [""]
    return "\n".join([f'{indent}"""{lines[0]}', *(indent + line for line in lines[1:])]) + '"""\n'


def record(name, schema):
    """A class."""
    out = [f"@dataclass(frozen=True)\nclass {name}({ALSO.get(name, 'Record')}):\n", text(schema.get("description"), "    ")]
    for key, value in schema.get("properties", {}).items():
        assert key.isidentifier() or keyword.iskeyword(key), key
        of = kind(value)
        # A file of an earlier version may lack any field.
        if of.startswith("list["):
            default = "field(default_factory=list)"
        elif of.startswith("dict["):
            default = "field(default_factory=dict)"
        else:
            of = of if of == "Any" or of.endswith("None") else f"{of} | None"
            default = "None"
        out.append(f"    {key}: {of} = {default}\n")
        if isinstance(value, dict) and value.get("description"):
            out.append(text(value["description"], "    "))
    return "".join(out)


def written():
    schema = json.loads(SCHEMA.read_text())
    classes = {**schema["$defs"], "Report": schema}
    parts = []
    for name, definition in sorted(classes.items()):
        if "properties" in definition:
            parts.append(record(name, definition))
        else:
            parts.append(f"{name} = {kind(definition)}\n")
    # Names that stand for another type come first: nothing may be used before it is there.
    parts.sort(key=lambda part: part.startswith("@"))
    return HEAD + "\n\n".join(parts)


if __name__ == "__main__":
    new = written()
    if sys.argv[1:] == ["--check"]:
        if OUT.read_text() != new:
            sys.exit(f"{OUT.name} is not what {SCHEMA.name} gives: run python3 python/generate.py")
    else:
        OUT.write_text(new)
