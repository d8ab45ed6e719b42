"""What a client is told of a failure."""

from __future__ import annotations

from stepwell.server.reasons import kinds_only


def test_clients_get_the_type_of_an_error_and_not_its_words() -> None:
    """In stages inside others too; what is no error stays as it is."""
    inside = {"name": "arm", "reason": "ModelError: mine returned NaN"}
    trace = {
        "ms": 3.0,
        "stages": [
            {"name": "a", "reason": "RemoteError: tei at http://10.0.0.7 answered 503: x; 2 left"},
            {"name": "b", "reason": "deadline: 4 not scored", "children": [inside]},
            {"name": "c"},
        ],
    }
    told = kinds_only(trace)
    assert told["ms"] == 3.0
    assert [each.get("reason") for each in told["stages"]] == [
        "RemoteError",
        "deadline: 4 not scored",
        None,
    ]
    assert told["stages"][1]["children"][0]["reason"] == "ModelError"
    assert trace["stages"][0]["reason"].endswith("2 left")
