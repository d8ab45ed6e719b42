def test_the_demo_answers_from_the_standard_library(run) -> None:
    """It asks its own questions or the user's; each is answered with documents and a trace."""
    answers = run("demo", "--encoder", "none", "--json").json
    assert len(answers) == 3
    assert all(answer["hits"] for answer in answers)
    said = run("demo", "Return the median (middle value) of data", "--encoder", "none", "--k", 2)
    lines = said.out.splitlines()
    assert lines[0] == "Return the median (middle value) of data"
    assert "statistics.median" in lines[1]
    assert "total" in said.out
    assert (said.code, said.err) == (0, "")
