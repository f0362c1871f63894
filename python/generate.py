"""Writes dualmd/*_types.py: the types of report.json, extraction.json, memorisation.json and utility/MODEL.json as dataclasses, from their
JSON schemas.

    python3 generate.py [--check]

With --check nothing is written, and the exit status is 1 if a file is not what its schema gives.
"""

import json
import keyword
import re
import sys
import textwrap
from pathlib import Path

HERE = Path(__file__).parent
# Schema and file by their common name, the class of the whole, and what the file is called.
FILES = {
    "report": ("Report", "report.json"),
    "extraction": ("Extraction", "extraction.json"),
    "memorisation": ("Memorisation", "memorisation.json"),
    "utility": ("Utility", "utility/MODEL.json, and of what `dualmd metrics` prints"),
}
SIMPLE = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}
# What a class can do beside holding its fields: dualmd/reading.py.
ALSO = {
    "ModelReport": "ModelReading",
    "ModelVerdict": "ModelVerdictReading",
    "AttackResult": "AttackReading",
    "Measurement": "MeasurementReading",
    "Verdict": "VerdictReading",
}
# Whole numbers that the program keeps as floats.
COUNTS = {
    "Copies": {"n_generated"},
    "ImageUtility": {"equal_n", "n_generated", "n_real"},
    "ModelReport": {"network_calls_made", "network_calls_saved"},
    "Training": {"batch", "images", "parameters", "ranks", "steps", "threads"},
}
# Numbers that are null in files where they are infinite.
INFINITE = {"OperatingPoint": {"threshold"}, "TransferredThreshold": {"threshold"}}
HEAD = '''"""The types of {what}. Written by python/generate.py from docs/schema/{name}.schema.json: do not edit."""

from __future__ import annotations

from dataclasses import {dataclasses}
{any}
from .reading import {reading}

'''


def schema_of(name):
    """The file of a schema."""
    return HERE.parent / f"docs/schema/{name}.schema.json"


def out_of(name):
    """The file of the types."""
    return HERE / f"dualmd/{name}_types.py"


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


def record(name, schema, defs, also=False):
    """A class."""
    decorated = "@dataclass(frozen=True, kw_only=True, repr=False)"
    out = [f"{decorated}\nclass {name}({ALSO.get(name, 'Record') if also else 'Record'}):\n", described(schema, defs), "\n"]
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


def one_of(schema, defs):
    """An object of several forms as one record: all their fields, of which those are required that all have."""
    forms = [defs.get(form.get("$ref", "").rsplit("/", 1)[-1], form) for form in schema.get("oneOf", []) or schema.get("anyOf", [])]
    if not forms or not all(form.get("type") == "object" for form in forms):
        return schema
    properties = {}
    for form in forms:
        for key, value in form["properties"].items():
            properties.setdefault(key, {k: v for k, v in value.items() if k != "const"})
    required = set.intersection(*(set(form.get("required", [])) for form in forms))
    return {"description": schema.get("description"), "properties": properties, "required": sorted(required)}


def written(name):
    """The text of a file of types."""
    whole, what = FILES[name]
    schema = json.loads(schema_of(name).read_text())
    defs = schema["$defs"]
    classes = {key: one_of(definition, defs) for key, definition in {**defs, whole: schema}.items()}
    parts = []
    for key, definition in sorted(classes.items()):
        if "properties" in definition:
            parts.append(record(key, definition, classes, name == "report"))
        else:
            parts.append(f"{key} = {kind(definition)}\n")
    # Names that stand for another type come first: nothing may be used before it is there.
    parts.sort(key=lambda part: part.startswith("@"))
    body = "\n\n".join(parts)
    reading = sorted({"Record"} | {ALSO[key] for key in classes if name == "report" and key in ALSO})
    return (
        HEAD.format(
            what=what,
            name=name,
            dataclasses="dataclass, field" if "field(" in body else "dataclass",
            any="from typing import Any\n" if re.search(r"\bAny\b", body) else "",
            reading=", ".join(reading),
        )
        + body
    )


if __name__ == "__main__":
    for name in FILES:
        new, out = written(name), out_of(name)
        if sys.argv[1:] == ["--check"]:
            if not out.is_file() or out.read_text() != new:
                sys.exit(f"{out.name} is not what {schema_of(name).name} gives: run python3 python/generate.py")
        else:
            out.write_text(new)
