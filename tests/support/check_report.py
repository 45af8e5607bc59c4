#!/usr/bin/env python3
"""Check a report of dray pull: does it keep to its schema, and do its numbers agree?

    check_report.py REPORT        `-`: standard input

report_schema.json, beside this file, is the schema; of JSON Schema only the keywords it uses are
known, and others are refused. Prints one line per fault; exits 1 when there is any.
"""

import collections
import json
import os
import re
import sys

TYPES = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
}
KEYWORDS = {"$schema", "$defs", "$ref", "title", "type", "required", "additionalProperties", "properties", "items",
            "const", "enum", "anyOf", "minimum", "pattern"}


def check_value(root, schema, value, path):
    """Yield where and how a value breaks a schema."""
    if unknown := schema.keys() - KEYWORDS:
        raise ValueError(f"the schema has unknown keywords: {unknown}")
    if "$ref" in schema:
        yield from check_value(root, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], value, path)
    if "anyOf" in schema and all(list(check_value(root, one, value, path)) for one in schema["anyOf"]):
        yield f"{path}: {value!r} is none of what it may be"
    types = schema.get("type", [])
    if types and not any(TYPES[name](value) for name in ([types] if isinstance(types, str) else types)):
        yield f"{path}: {value!r} is no {types}"
        return
    if "const" in schema and value != schema["const"]:
        yield f"{path}: {value!r} is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"
    if "minimum" in schema and value is not None and value < schema["minimum"]:
        yield f"{path}: {value!r} is below {schema['minimum']}"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{path}: {value!r} does not match {schema['pattern']}"
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from check_value(root, schema.get("items", {}), item, f"{path}[{i}]")
    if isinstance(value, dict):
        yield from check_object(root, schema, value, path)


def check_object(root, schema, value, path):
    """The same of an object's keys."""
    properties = schema.get("properties", {})
    for key in schema.get("required", []):
        if key not in value:
            yield f"{path}: {key} is missing"
    for key, item in value.items():
        if key in properties:
            yield from check_value(root, properties[key], item, f"{path}.{key}")
        elif schema.get("additionalProperties", True) is False:
            yield f"{path}: {key} is unknown"


def check_blob(blob, images):
    """Yield faults of one blob that its schema cannot see."""
    name = f"blob {blob['digest']} of {blob['image']}"
    if blob["image"] not in images:
        yield f"{name}: there is no such image"
    elif images[blob["image"]] == {"unchanged"}:
        yield f"{name}: the image is unchanged"
    if ("error" in blob) != (blob["status"] == "failed"):
        yield f"{name}: {blob['status']}, and there is {'an' if 'error' in blob else 'no'} error"
    if blob["status"] == "fetched":
        if blob["received"] + blob["resumed"] < blob["bytes"]:
            yield f"{name}: more came than was received or resumed"
        # a process may die when every byte is there, and before the blob has its name
        if blob["resumed"] < blob["bytes"] and (blob["seconds"] is None or blob["requests"] == 0):
            yield f"{name}: fetched without a request, or in no time"
    if blob["status"] == "present" and (blob["received"] or blob["requests"]):
        yield f"{name}: present, and yet fetched"
    for key, part in (("received", "bytes"), ("requests", "requests")):
        if blob[key] != sum(origin[part] for origin in blob["endpoints"]):
            yield f"{name}: {key} is not the sum over its endpoints"


def check_endpoints(report):
    """Yield endpoints that have brought less than blobs have of them."""
    brought = collections.Counter()
    for blob in report["blobs"]:
        for origin in blob["endpoints"]:
            brought[origin["endpoint"], "bytes"] += origin["bytes"]
            brought[origin["endpoint"], "requests"] += origin["requests"]
    known = {endpoint["endpoint"]: endpoint for endpoint in report["endpoints"]}
    for (name, key), count in brought.items():
        if name not in known:
            yield f"endpoint {name}: of blobs only"
        elif known[name][key] < count:
            yield f"endpoint {name}: {known[name][key]} {key}, but the blobs have {count} of it"


def check_numbers(report):
    """Yield faults of numbers that should agree."""
    totals = report["totals"]
    blobs = report["blobs"]
    images = collections.defaultdict(set)
    for image in report["images"]:
        images[image["reference"]].add(image["status"])
        if ("error" in image) != (image["status"] == "failed"):
            yield f"image {image['reference']}: {image['status']}, which does not go with its error"
    for blob in blobs:
        yield from check_blob(blob, images)
    yield from check_endpoints(report)
    for what in ("images", "blobs"):
        counts = collections.Counter(item["status"] for item in report[what])
        for status, count in totals[what].items():
            if count != counts[status]:
                yield f"totals: {count} {what} are {status}, but {counts[status]} are listed"
    sums = {key: sum(blob[key.removesuffix("_bytes")] for blob in blobs)
            for key in ("received_bytes", "resumed_bytes", "requests", "retries")}
    sums["present_bytes"] = sum(blob["bytes"] for blob in blobs if blob["status"] == "present")
    for key, value in sums.items():
        if totals[key] != value:
            yield f"totals: {key} is {totals[key]}, but the blobs have {value}"
    fetched = [blob["digest"] for blob in blobs if blob["status"] == "fetched"]
    for digest, count in collections.Counter(fetched).items():
        if count > 1:
            yield f"blob {digest}: fetched {count} times"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(os.path.join(os.path.dirname(__file__), "report_schema.json"), encoding="utf-8") as file:
        schema = json.load(file)
    with open(0 if sys.argv[1] == "-" else sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    faults = list(check_value(schema, schema, report, "report")) or list(check_numbers(report))
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
