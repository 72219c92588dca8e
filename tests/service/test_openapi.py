"""The OpenAPI document says what the API's page says, and the service does what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import strategies as st

from export_engine.jobs.errors import InvalidRequestError
from export_engine.jobs.request import ExportRequest
from export_engine.service.demo import DEMO_WORKSPACE
from export_engine.service.routes import router
from tests.service.running import BY_CHANNEL, BY_PHONE, NOW, Service

ROOT = Path(__file__).parents[2]
POST = "/api/v1/workspace/{workspace_id}/export-conversations"
GET = "/api/v1/workspace/{workspace_id}/export-conversations/{export_job_id}"
DETAILS = f"{GET}/details"
CHANNELS = "/api/v1/workspace/{workspace_id}/channels"


@pytest.fixture(scope="module")
def document(service: Service) -> dict[str, Any]:
    """The document, as it is served."""
    found: dict[str, Any] = service.client.get("/openapi.json").json()
    return found


def operation(document: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    """One operation of it."""
    found: dict[str, Any] = document["paths"][path][method]
    return found


def test_the_paths_of_the_page(document: dict[str, Any]) -> None:
    """Its two operations, and those beyond it, each with its key and its statuses."""
    assert {path: list(operations) for path, operations in document["paths"].items()} == {
        POST: ["post", "get"],
        GET: ["get", "delete"],
        DETAILS: ["get"],
        CHANNELS: ["get"],
    }
    assert set(operation(document, "post", POST)["responses"]) == {
        *("202", "400", "401", "404", "409", "422"),
        *("413", "415", "429", "500", "503"),
    }
    assert set(operation(document, "get", GET)["responses"]) == {"200", "401", "404", "500", "503"}
    assert set(operation(document, "delete", GET)["responses"]) == {"204", "401", "404", "500", "503"}
    assert set(operation(document, "get", DETAILS)["responses"]) == {"200", "401", "404", "500", "503"}
    for path in (POST, CHANNELS):
        assert set(operation(document, "get", path)["responses"]) == {"200", "401", "422", "500", "503"}
    for operations in document["paths"].values():
        assert all(found["security"] == [{"X-API-Key": []}] for found in operations.values())
    assert document["components"]["securitySchemes"]["X-API-Key"] | {"description": ""} == {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "",
    }


def test_the_fields_of_the_page(document: dict[str, Any]) -> None:
    """Those of its tables, in their order; two are required, and no other is taken."""
    schemas = document["components"]["schemas"]
    request = schemas["ExportConversationsRequest"]
    names = ["start_date", "end_date", "channel_id", "phone_number", "channel_type", "notification_email"]
    assert list(request["properties"]) == names
    assert (request["required"], request["additionalProperties"]) == (["start_date", "end_date"], False)
    assert list(schemas["ExportStatus"]["properties"]) == [
        *("export_job_id", "workspace_id", "channel_id", "start_date", "end_date", "status"),
        *("presigned_url", "presigned_url_expires_at", "error_message", "created_time"),
    ]
    assert schemas["Status"]["enum"] == ["queued", "started", "finished", "failed"]


def test_the_examples_of_the_page(document: dict[str, Any]) -> None:
    """Its requests and responses are there; they and all others are what their schemas allow."""
    post, get = operation(document, "post", POST), operation(document, "get", GET)
    requests = post["requestBody"]["content"]["application/json"]
    assert [example["value"] for example in requests["examples"].values()] == [BY_CHANNEL, BY_PHONE]
    everything = [one for operations in document["paths"].values() for one in operations.values()]
    answers = [found for one in everything for found in one["responses"].values() if "content" in found]
    for one in [requests, *(found["content"]["application/json"] for found in answers)]:
        assert one["examples"]
        for example in one["examples"].values():
            schema = {"components": document["components"], **one["schema"]}
            jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(example["value"])
    assert all(parameter["schema"]["examples"] for parameter in (*post["parameters"], *get["parameters"]))
    assert get["responses"]["200"]["content"]["application/json"]["examples"]["running"]["value"] == {
        "export_job_id": "79f13adf-f7dc-4744-8ad9-a16b4913e52c",
        "workspace_id": DEMO_WORKSPACE,
        "channel_id": "b2c3d4e5-7777-8888-9999-000011112222",
        "start_date": "2026-06-01",
        "end_date": "2026-06-10",
        "status": "started",
        "presigned_url": None,
        "presigned_url_expires_at": None,
        "error_message": None,
        "created_time": "2026-06-11T06:50:43.861185",
    }


_VALUES = st.sampled_from(
    [
        None,
        1,
        "",
        "2026-02-01",
        "2026-02-30",
        BY_CHANNEL["channel_id"],
        "+12025550123",
        "12025550123",
        "sms",
        "fax",
        "a@example.com",
    ]
)
_NAMES = ["start_date", "end_date", "channel_id", "phone_number", "channel_type", "notification_email", "other"]


@given(body=st.dictionaries(st.sampled_from(_NAMES), _VALUES))
def test_the_schema_and_the_rules_agree(document: dict[str, Any], body: dict[str, object]) -> None:
    """What the rules accept the schema allows, and what they refuse it forbids, for values of the right form."""
    schema = document["components"]["schemas"]["ExportConversationsRequest"]
    allowed = jsonschema_rs.Draft202012Validator(schema, validate_formats=True).is_valid(body)
    try:
        ExportRequest.from_mapping(body, today=NOW.date())
    except InvalidRequestError:
        assert not allowed
    else:
        assert allowed


def test_the_routes_and_the_document_agree(document: dict[str, Any]) -> None:
    """Every operation of the document is a route of the API, and every route below the API is in the document.

    HEAD is wherever GET is, which goes without saying.
    """
    routes = {
        (route.path, method.lower())
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    heads = {path for path, method in routes if method == "head"}
    assert heads == {path for path, method in routes if method == "get"}
    documented = {(path, method) for path, operations in document["paths"].items() for method in operations}
    assert routes - {(path, "head") for path in heads} == documented


@pytest.mark.slow
def test_schemathesis(idle: Service, tmp_path: Path) -> None:
    """Every check it has, on requests right and wrong, alone and in sequence."""
    done = subprocess.run(
        [
            *(Path(sys.executable).parent / "st", "run", f"{idle.url}/openapi.json"),
            # A job that was cancelled can still be polled: it has failed. And requests that are to lack the key are
            # given it all the same, by --header.
            *("--exclude-checks", "use_after_free,missing_required_header"),
            *("--header", f"X-API-Key: {idle.key}", "--seed", "20260611", "--max-examples", "10", "--no-color"),
            # A machine that stands still says nothing of the service.
            *("--request-timeout", "90", "--suppress-health-check", "too_slow"),
        ],
        env=os.environ | {"SCHEMATHESIS_HOOKS": "tests.service.schemathesis_hooks", "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 selected / 6 total" in done.stdout
