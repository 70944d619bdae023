"""What is sent before the second request of a truth."""

from butfor.evaluating.seconds import earlier
from butfor.evidence.incidents import Incident


def test_what_healthy_requests_are_given_to_keep_is_had_before_the_second_request():
    def request(path, **more):
        return {"method": "GET", "path": path, **more}

    load = {
        "before": [request("/setup")],
        "healthy": [request("/"), request("/login", save={"cookies": True})],
        "failing": [request("/mine")],
    }
    incident = Incident.model_validate({"id": "one", "services": [], "load": load})
    second = incident.load.failing[0].model_copy(update={"before": incident.load.healthy[:1]})
    assert [one.path for one in earlier(incident, second)] == ["/setup", "/login", "/"]
