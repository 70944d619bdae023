"""What descriptions state of the environments at good and bad reaches the graph as configuration nodes."""

import json

from butfor.evidence.incidents import Symptom
from butfor.evidence.services import ServiceDescription
from butfor.investigating.analyses import analyse, environments_of
from butfor.investigating.progress import Clock, Silent


def service(**more):
    return ServiceDescription(name="shop", run="serve", **more)


def spans(number, status):
    code = "STATUS_CODE_ERROR" if status == 500 else "STATUS_CODE_UNSET"
    span = {
        "traceId": f"{number:032x}", "spanId": f"{number:016x}", "name": "GET /buy", "kind": 2,
        "startTimeUnixNano": str(number * 10**9), "endTimeUnixNano": str(number * 10**9 + 10**6),
        "status": {"code": code}, "attributes": [
            {"key": "http.request.method", "value": {"stringValue": "GET"}},
            {"key": "http.route", "value": {"stringValue": "/buy"}},
            {"key": "http.response.status_code", "value": {"intValue": str(status)}},
        ],
    }  # fmt: skip
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "t"}, "spans": [span]}]}]}


def test_a_variable_that_differs_is_a_configuration_node_on_the_slice(tmp_path):
    lines = [json.dumps(spans(n, 500 if n == 5 else 200)) for n in range(1, 8)]
    (tmp_path / "spans.otlp.jsonl").write_text("\n".join(lines) + "\n")
    services = [service(environment={"LIMIT": "1", "SAME": "x"}, good_environment={"LIMIT": "9", "SAME": "x"})]
    found = analyse(tmp_path, Symptom(), None, frozenset(), Clock(Silent()), services)
    nodes = [n for n in found.graph.nodes if n.kind == "config"]
    assert [(n.id, n.exogenous) for n in nodes] == [("config:shop:environment:LIMIT", True)]
    assert "ConfigChange" in {p.outcome for p in found.cut.predictions}
    assert "9" not in nodes[0].model_dump_json(include={"value", "healthy_value"})


def test_one_environment_is_no_difference():
    assert environments_of([service(environment={"A": "1"})]) == {}
