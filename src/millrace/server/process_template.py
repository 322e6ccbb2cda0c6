"""The base job template of the pool that the embedded server makes: what a process worker understands."""

from __future__ import annotations

from millrace.schema.fields import JsonObject

PROCESS_TEMPLATE: JsonObject = {
    "job_configuration": {
        "command": "{{ command }}",
        "env": "{{ env }}",
        "labels": "{{ labels }}",
        "name": "{{ name }}",
        "stream_output": "{{ stream_output }}",
        "requirements": "{{ requirements }}",
        "virtualenv": "{{ virtualenv }}",
        "working_dir": "{{ working_dir }}",
    },
    "variables": {
        "properties": {
            "name": {
                "anyOf": [{"type": "string"}, {"type": "null"}],
                "default": None,
                "description": "Name given to the run's process.",
                "title": "Name",
            },
            "env": {
                "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "description": "Environment variables of the run.",
                "title": "Environment Variables",
                "type": "object",
            },
            "labels": {
                "additionalProperties": {"type": "string"},
                "description": "Labels of the run's process.",
                "title": "Labels",
                "type": "object",
            },
            "command": {
                "anyOf": [{"type": "string"}, {"type": "null"}],
                "default": None,
                "description": "The command that starts the run; empty: the worker's own.",
                "title": "Command",
            },
            "stream_output": {
                "default": True,
                "description": "Copy the run's output to the worker's.",
                "title": "Stream Output",
                "type": "boolean",
            },
            "working_dir": {
                "anyOf": [{"format": "path", "type": "string"}, {"type": "null"}],
                "default": None,
                "description": "The directory the run starts in; empty: where its code lies.",
                "title": "Working Directory",
            },
            "virtualenv": {
                "anyOf": [{"format": "path", "type": "string"}, {"type": "null"}],
                "default": None,
                "description": "Run with the Python of this environment, which has Millrace.",
                "title": "Virtual Environment",
            },
            "requirements": {
                "items": {"type": "string"},
                "description": "Packages the job needs beside the worker's own, as pip takes them.",
                "title": "Requirements",
                "type": "array",
            },
        },
        "type": "object",
    },
}
