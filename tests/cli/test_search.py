from pathlib import Path


def test_hits_for_people(run, corpus: Path) -> None:
    """A hit shows rank, score, id, place by stage and text; brackets in it are no markup."""
    said = run("search", corpus, "rotate logs", "--k", 2)
    first, text = said.out.splitlines()[:2]
    assert first.split()[0] == "1"
    assert "logs.txt#0" in first
    assert "(bm25 1)" in first
    assert "[bold]never[/bold] by hand" in text
    assert (said.code, said.err) == (0, "")


def test_hits_for_programs(run, corpus: Path) -> None:
    """The JSON holds hits with text, metadata, scores and ranks by stage; the trace when asked."""
    said = run("search", corpus, "rotate logs", "--k", 2, "--json")
    assert list(said.json) == ["query", "hits", "degraded"]
    hit = said.json["hits"][0]
    assert (hit["rank"], hit["id"], hit["ranks"]) == (1, "logs.txt#0", {"bm25": 1})
    assert hit["metadata"]["path"] == "logs.txt"
    said = run("search", corpus, "rotate logs", "--json", "--trace")
    assert said.json["trace"]["stages"][0]["n_out"] == 2


def test_the_trace_is_a_table(run, corpus: Path) -> None:
    """--trace adds a row a stage and a total."""
    said = run("search", corpus, "logs", "--trace")
    rows = [line.split() for line in said.out.splitlines() if line.strip()]
    assert ["stage", "status", "in", "out", "ms", "remarks"] in rows
    assert [row[:4] for row in rows if row[0] == "bm25"] == [["bm25", "ok", "0", "2"]]


def test_a_filter_as_json(run, corpus: Path) -> None:
    """Only documents whose metadata matches are answered."""
    said = run("search", corpus, "logs", "--filter", '{"path": "disk.txt"}', "--json")
    assert [hit["id"] for hit in said.json["hits"]] == ["disk.txt#0"]


def test_nothing_found_is_no_error(run, corpus: Path) -> None:
    """A blank query, and one that matches nothing, give an empty answer and a remark."""
    for query in ("", "  ", "zebra"):
        said = run("search", corpus, query)
        assert (said.code, said.out, said.err) == (0, "", "nothing found\n")
        assert run("search", corpus, query, "--json").json["hits"] == []


def test_more_than_there_is(run, corpus: Path) -> None:
    """A k beyond the corpus gives what there is."""
    assert len(run("search", corpus, "the", "--k", 1000, "--json").json["hits"]) == 3


def test_a_large_k_is_read_by_every_stage(run, tmp_path: Path) -> None:
    """The last stage orders as many as are asked for, under a deadline too."""
    (tmp_path / "many").mkdir()
    for n in range(15):
        (tmp_path / "many" / f"{n}.txt").write_text(f"Log number {n} is rotated at noon.")
    place = tmp_path / "many.stepwell"
    assert run("index", tmp_path / "many", "--to", place).code == 0
    said = run("search", place, "logs", "--k", 12, "--deadline", 60, "--trace", "--json")
    assert [stage["n_out"] for stage in said.json["trace"]["stages"]] == [15, 15, 12]
    assert all("cross-encoder" in hit["ranks"] for hit in said.json["hits"])


def test_a_cascade_file_answers(run, corpus: Path, tmp_path: Path) -> None:
    """--cascade searches with the stages of a file; beside --preset it is refused."""
    file = tmp_path / "one.toml"
    file.write_text('version = 1\n\n[[stage]]\ntype = "bm25"\nk = 1\n')
    found = run("search", corpus, "logs", "--cascade", file, "--json", "--trace").json
    assert [(stage["name"], stage["n_out"]) for stage in found["trace"]["stages"]] == [("bm25", 1)]
    said = run("search", corpus, "logs", "--cascade", file, "--preset", "bm25")
    assert (said.code, said.out) == (2, "")
    assert "exclude each other" in said.err
