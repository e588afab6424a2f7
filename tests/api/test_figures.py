"""Figures over REST; what they show is tested with the figures."""

from typing import Any

from starlette.testclient import TestClient


def test_every_figure_is_plotly_json(client: TestClient, trained: Any) -> None:
    for name in ("bowls", "law", "coverage", "losses", "residuals", "savings"):
        answer = client.get(f"/v1/sweeps/{trained.sweep.id}/figures/{name}")
        assert answer.status_code == 200, name
        assert answer.json()["data"], name
        assert answer.json()["layout"], name


def test_the_batch_of_a_sweep_with_one_is_its_reason(client: TestClient, trained: Any) -> None:
    answer = client.get(f"/v1/sweeps/{trained.sweep.id}/figures/batch")
    assert answer.status_code == 200
    assert "All runs have one batch" in titles(answer.json())[0].replace("<br>", " ")


def test_an_unknown_figure_is_refused_with_the_known_ones(client: TestClient, trained: Any) -> None:
    answer = client.get(f"/v1/sweeps/{trained.sweep.id}/figures/parallel")
    assert answer.status_code == 404
    assert "coverage" in answer.json()["detail"]


def test_a_width_out_of_range_is_refused(client: TestClient, trained: Any) -> None:
    url = f"/v1/sweeps/{trained.sweep.id}/figures/bowls"
    assert client.get(url, params={"columns": "1"}).status_code == 200
    assert client.get(url, params={"columns": "0"}).status_code == 422


def titles(figure: dict[str, Any]) -> list[str]:
    return [note["text"] for note in figure["layout"]["annotations"]]


def test_bowls_can_be_narrowed_to_one_size_and_paged(client: TestClient, trained: Any) -> None:
    url = f"/v1/sweeps/{trained.sweep.id}/figures/bowls"
    sizes = sorted({cell.params for cell in trained.store.sweeps.cells(trained.sweep.id)})
    every = titles(client.get(url).json())
    one = titles(client.get(url, params={"params": f"{sizes[0]:g}", "page": "1"}).json())
    assert len(every) == 6
    assert one == every[:2]
    beyond = client.get(url, params={"params": f"{sizes[0]:g}", "page": "2"})
    assert beyond.status_code == 200
    assert "None of the chosen cells" in " ".join(titles(beyond.json()))
    assert client.get(url, params={"page": "0"}).status_code == 422
