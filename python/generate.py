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
ALSO = {"ModelReport": "ModelReading", "AttackResult": "AttackReading", "Measurement": "MeasurementReading", "Verdict": "VerdictReading"}
# Whole numbers that the program keeps as floats.
COUNTS = {
    "Copies": {"n_generated"},
    "ImageUtility": {"equal_n", "n_generated", "n_real"},
    "ModelReport": {"network_calls_made", "network_calls_saved"},
    "Training": {"batch", "images", "parameters", "ranks", "steps", "threads"},
}
# Numbers that are null in files where they are infinite.
INFINITE = {"OperatingPoint": {"threshold"}, "TransferredThreshold": {"threshold"}}
HEAD = '''"""The types of report.json. Written by python/generate.py from docs/schema/report.schema.json: do not edit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .reading import AttackReading, MeasurementReading, ModelReading, Record, VerdictReading

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


def wrapped(words, indent, hanging=""):
    """Lines of a docstring."""
    words = " ".join((words or "").split()).replace("\\", "\\\\")
    lines = textwrap.wrap(words, 120 - len(indent) - 6, subsequent_indent=hanging) or [""]
    return [indent + line for line in lines]


def text(words, indent):
    """A docstring."""
    lines = wrapped(words, indent)
    return "\n".join([f'{indent}"""{lines[0].strip()}', *lines[1:]]) + '"""\n'


def attribute(key):
    """The name of a field: `of` is what records are made by."""
    return "of_" if key == "of" else key


def words_of(value, defs):
    """What a field is, and what it may say where that is one of a few words."""
    words = value.get("description") or ""
    of = defs.get(value.get("$ref", "").rsplit("/", 1)[-1], {})
    consts = [form["const"] for form in of.get("oneOf", []) if "const" in form]
    return f"{words} One of {', '.join(f'`{const}`' for const in consts)}." if consts else words


def described(schema, defs):
    """The docstring of a class: what it is, and what its fields are, for `help`."""
    out = text(schema.get("description"), "    ").removesuffix('"""\n')
    fields = [(key, words_of(value, defs)) for key, value in schema["properties"].items() if isinstance(value, dict)]
    lines = [line for key, words in fields if words for line in wrapped(f"{attribute(key)}: {words}", "    ", "    ")]
    return "\n".join([out, "", *lines]) + '\n    """\n' if lines else out + '"""\n'


def literal(value):
    """A value of JSON as Python writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {literal(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value) if isinstance(value, str) else repr(value)


def default(of, schema, defs):
    """The default of a field that is not required, and its type."""
    if of.startswith(("list[", "dict[")):
        return of, f"field(default_factory={of[:4]})"
    value = schema.get("default") if isinstance(schema, dict) else None
    if value is None:
        return (of if of == "Any" or of.endswith("None") else f"{of} | None"), "None"
    if isinstance(value, dict) and not defs[of].get("required"):
        return of, f"field(default_factory=lambda: {of}())"
    if isinstance(value, dict):
        return of, f"field(default_factory=lambda: {of}.of({literal(value)}))"
    if isinstance(value, str):
        return of, json.dumps(value)
    return of, repr(tuple(value) if isinstance(value, list) else value)


def record(name, schema, defs):
    """A class."""
    decorated = "@dataclass(frozen=True, kw_only=True, repr=False)"
    out = [f"{decorated}\nclass {name}({ALSO.get(name, 'Record')}):\n", described(schema, defs), "\n"]
    required = schema.get("required", [])
    for key, value in schema["properties"].items():
        assert key.isidentifier() and not keyword.iskeyword(key), key
        of = kind(value)
        if key in COUNTS.get(name, ()):
            of = of.replace("float", "int")
            value = {**value, "default": None if value.get("default") is None else int(value["default"])}
        if key in INFINITE.get(name, ()):
            of = f"{of} | None"
        # What every version writes has no default, but for lists: a report is read although one is missing.
        if key in required and not of.startswith(("list[", "dict[")):
            out.append(f"    {attribute(key)}: {of}\n")
        else:
            out.append("    {}: {} = {}\n".format(attribute(key), *default(of, value, defs)))
    return "".join(out)


def one_of(schema):
    """An object of several forms as one record: all their fields, of which those are required that all have."""
    forms = schema.get("oneOf", [])
    if not forms or not all(form.get("type") == "object" for form in forms):
        return schema
    properties = {}
    for form in forms:
        for key, value in form["properties"].items():
            properties.setdefault(key, {k: v for k, v in value.items() if k != "const"})
    required = set.intersection(*(set(form.get("required", [])) for form in forms))
    return {"description": schema.get("description"), "properties": properties, "required": sorted(required)}


def written():
    schema = json.loads(SCHEMA.read_text())
    classes = {name: one_of(definition) for name, definition in {**schema["$defs"], "Report": schema}.items()}
    parts = []
    for name, definition in sorted(classes.items()):
        if "properties" in definition:
            parts.append(record(name, definition, classes))
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
