"""The overview page: what it shows, and that nothing in it is taken for markup."""

from html.parser import HTMLParser

from _speedups.stats import StatsPage
from ops.overview import REFRESH_SECONDS, Rates
from ops.overview import page as overview_page
from ops.readiness import ready
from ops.snapshot import Snapshot

VOID = {"meta", "br"}


class Checker(HTMLParser):
    """Collects text and complains about tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def shown(page: StatsPage) -> Checker:
    checker = Checker()
    checker.feed(overview_page(Snapshot(page), ready(page), Rates()))
    checker.close()
    assert checker.open == []
    return checker


def test_it_shows_regions_shards_pools_workers_and_digests(page: StatsPage) -> None:
    block = page.worker(0)
    block.digest_add(*block.claim(1, b"select * from orders where id = ?", keyspace=0), 1500, shard=1)
    block.shard_add(1, "queries", 4711)
    page.limit_take(0, 0, 64)
    text = shown(page).text
    for part in ("Region eu (this one)", "Region us", "eu-0", "us-1", "4711", "127.0.0.1:7401", "1 of 64",
                 "replica", "select * from orders where id = ?", "1.5ms", "alive", "ready"):
        assert part in text, part


def test_it_refreshes_itself_and_runs_nothing(page: StatsPage) -> None:
    html = overview_page(Snapshot(page), ready(page), Rates())
    assert f'http-equiv="refresh" content="{REFRESH_SECONDS}"' in html
    assert "script" not in shown(page).tags


def test_markup_in_a_statement_stays_text(page: StatsPage) -> None:
    block = page.worker(0)
    block.digest_add(*block.claim(1, b"select `<script>alert(1)</script>` & $tone \x1b"), 1)
    checker = shown(page)
    assert "<script>alert(1)</script>` & $tone \\x1b" in checker.text
    assert "script" not in checker.tags


def test_an_empty_page_says_not_ready(bare: StatsPage) -> None:
    text = shown(bare).text
    assert "not ready" in text and "no configuration is loaded" in text


def test_rates_need_two_looks() -> None:
    rates = Rates()
    assert rates.look(1_000_000_000, 100) is None
    assert rates.look(1_500_000_000, 200) is None
    assert rates.look(11_000_000_000, 1_100) == 100.0
    assert rates.look(11_100_000_000, 9_999) == 100.0
