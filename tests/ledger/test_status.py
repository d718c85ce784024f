"""The page of `takings status --html`, the metrics of `--prometheus`, and what reads them."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import re
import shutil
import stat
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from shop import Shop
from support import BUILT, ENVIRONMENT, until

ROOT = Path(__file__).resolve().parent.parent.parent
# examples/monitoring/takings.rules.yaml, examples/monitoring/takings-status.service and
# examples/monitoring/takings-status.timer stand on a page of the documents.
MONITORING = ROOT / "examples/monitoring"
STYLE = (ROOT / "cli/src/page.css").read_text()
ORDER = "f3392f8b-6116-4073-ab96-e330819e2c07"
# Markup, a command, quotes, and characters that turn the line round or end it.
HOSTILE = "<b>'\"; $(touch ran) `touch ran` \\ &amp; \u202egnp\n</b>"
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Html(HTMLParser):
    """A page whose elements are all closed, in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), "an attribute stands twice"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        # A `code` holds a `span` for each word.
        if tag not in VOID:
            self.open.append(tag)
        if tag != "span":
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in dict.fromkeys(self.open):
            if tag != "span":
                self.texts[tag][-1] += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page(shop: Shop, *words: str) -> Html:
    shop.run("status", "--html", shop.folder / "status.html", *words)
    return Html((shop.folder / "status.html").read_text())


def now() -> int:
    return int(time.time() * 1000)


def trouble(shop: Shop) -> None:
    """Rows and accounts in each state that a person hears of."""
    shop.run("account", "add", "kustom-se")
    shop.enqueue("capture", [(ORDER, f"p-{n}", 1_290_000) for n in range(3)])
    shop.enqueue("capture", [(ORDER, HOSTILE, 250_000)])
    shop.enqueue("refund", [(ORDER, "r-1", 5_000)])
    at = now() - 2 * 60 * 60 * 1000
    settled = "due_at = NULL, settled_at = ?1, alert_at = ?1"
    shop.sql(
        f"UPDATE takings_capture SET state = 'rejected', why = 'refused', "
        f"error_code = '<CAPTURE_NOT_ALLOWED>', {settled} WHERE reference LIKE 'p-%'",
        at,
    )
    shop.sql(
        f"UPDATE takings_capture SET state = 'stuck', why = 'invalid', {settled} "
        "WHERE reference = ?2",
        at,
        HOSTILE,
    )
    shop.sql(
        "UPDATE takings_refund SET state = 'unclear', maybe = 1, why = 'unclear', alert_at = ?1, "
        "due_at = ?1 + 36000000",
        at,
    )
    shop.sql(
        "UPDATE takings_account SET paused_until = ?1, paused_why = 'credentials', alert_at = ?2 "
        "WHERE account = 'kustom-se'",
        now() + 600_000,
        at,
    )


# --- the page -------------------------------------------------------------------------------------


def test_a_person_s_tasks_stand_first_with_their_money_and_commands(shop: Shop) -> None:
    trouble(shop)
    html = page(shop)
    assert html.texts["h1"] == ["5 rows need a person, 1 account is paused"]
    assert html.texts["h2"] == ["Needs a person", "All accounts", "Each account"]
    assert [text.strip() for text in html.texts["h3"]] == [
        "Account kustom-se is paused critical",
        "3 captures refused by Klarna: <CAPTURE_NOT_ALLOWED> critical",
        "1 capture stuck critical",
        "1 refund without a clear answer for hours warning",
        "default healthy",
        "kustom-se paused",
    ]
    assert html.texts["b"][:4] == [
        f"{n} minor units" for n in ("0", "3,870,000", "250,000", "5,000")
    ]
    assert sum("(2 h ago)" in text for text in html.texts["li"]) == 4
    commands = html.texts["code"]
    for command in (
        "takings resume kustom-se",
        "takings list --needs-a-person",
        f"takings show {ORDER} p-0",
        f"takings settle {ORDER} p-0 --by NAME --captured ID",
        f"takings settle --refund {ORDER} r-1 --by NAME --refunded ID",
    ):
        assert command in commands


def test_a_ledger_without_trouble_says_so(shop: Shop) -> None:
    html = page(shop)
    assert html.texts["title"] == ["Nothing needs a person - takings"]
    assert html.texts["h1"] == ["Nothing needs a person"]
    assert html.texts["p"][1] == "Nothing. No worker runs: rows wait until one does."
    with shop.start("worker") as worker:
        until(lambda: "worker of" in shop.said(), what="the worker has begun")
        assert page(shop).texts["p"][1] == "Nothing. The worker goes on with what is open."
        shop.stop(worker)


def test_rows_that_nobody_sends_and_a_clock_that_went_back_are_tasks(shop: Shop) -> None:
    shop.enqueue("capture", [(ORDER, "p-1", 100)])
    shop.sql("UPDATE takings_capture SET due_at = ?", now() - 60 * 60 * 1000)
    shop.sql("UPDATE takings_account SET seen_at = ?", now() + 60 * 60 * 1000)
    html = page(shop)
    assert html.texts["h1"] == ["1 account is late"]
    assert "default late" in html.texts["h3"]
    assert html.texts["h3"][0].startswith("Account default: rows are due and nobody sends them")
    assert html.texts["h3"][1].startswith("Account default: the clock went back by")


def test_a_shop_s_text_is_no_markup_and_no_command(shop: Shop) -> None:
    """A person copies the command of the page into a shell."""
    trouble(shop)
    html = page(shop)
    text = (shop.folder / "status.html").read_text()
    assert "<b>'" not in text
    assert "\u202e" not in text
    [command] = [text for text in html.texts["code"] if "touch" in text and "show" in text]
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=shop.folder,
        env={**ENVIRONMENT, **shop.environment, "LC_ALL": "C.UTF-8", "PATH": path_of_takings()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "250,000 minor units: stuck" in done.stdout
    assert not (shop.folder / "ran").exists()


def path_of_takings() -> str:
    return f"{BUILT}{os.pathsep}{os.environ['PATH']}"


def test_a_browser_fetches_nothing_and_runs_nothing(shop: Shop) -> None:
    trouble(shop)
    html = page(shop)
    tags = {tag for tag, _ in html.tags}
    assert not tags & {"script", "img", "link", "iframe", "form", "a", "object"}
    for tag, attributes in html.tags:
        assert not {"style", "src", "href"} & attributes.keys(), tag
        assert not [name for name in attributes if name.startswith("on")], tag
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    [policy] = [
        meta["content"]
        for meta in html.all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    # The digest is that of the element's text, as a browser takes it.
    [style] = html.texts["style"]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy, f"the digest of page.css is {digest}"
    assert policy.startswith("default-src 'none'; ")


def test_the_page_is_one_for_everybody(shop: Shop) -> None:
    trouble(shop)
    html = page(shop)
    assert html.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in html.all(
        "meta"
    )
    depths = [int(tag[1]) for tag, _ in html.tags if re.fullmatch(r"h\d", tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(depths))
    ids = [attributes["id"] for _, attributes in html.tags if "id" in attributes]
    assert [section["aria-labelledby"] for section in html.all("section")] == ids
    assert len(html.all("table")) == len(html.texts["caption"]) == 2
    assert all(cell.get("scope") in ("row", "col") for cell in html.all("th"))
    assert all(meter["aria-label"] for meter in html.all("meter"))
    # No word is wider than a phone, and no width but a screen's is taken for given.
    assert "overflow-wrap: anywhere" in STYLE
    assert [int(width) for width in re.findall(r"(?<!-)\bwidth: (\d+)rem", STYLE)] == [8]
    assert not re.findall(r"min-width: (?!0)", STYLE)


def light_of(colour: str) -> float:
    """The relative luminance, by WCAG 2."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_words_stand_out_from_their_ground(scheme: int) -> None:
    colours = dict(
        re.findall(r"--([\w-]+): (#\w+);", re.findall(r":root \{(.*?)\}", STYLE, re.S)[scheme])
    )
    pairs = [(word, ground) for word in ("text", "soft") for ground in ("ground", "card")]
    for tone in ("bad", "warn", "good"):
        pairs += [(tone, f"{tone}-ground"), (tone, "ground"), (tone, "card")]
    for word, ground in pairs:
        lights = sorted(light_of(colours[name]) for name in (word, ground))
        assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 4.5, f"{word} on {ground}"


def test_how_often_a_browser_reads_it_again(shop: Shop) -> None:
    def refresh(*words: str) -> list[str]:
        metas = page(shop, *words).all("meta")
        return [meta["content"] for meta in metas if meta.get("http-equiv") == "refresh"]

    assert refresh() == ["60"]
    assert refresh("--refresh", "300") == ["300"]
    assert refresh("--refresh", "0") == []
    assert "--html" in shop.fails("status", "--refresh", "5")


@pytest.mark.parametrize("form", ["--html", "--prometheus"])
def test_a_file_is_put_in_place_whole_and_keeps_its_mode(shop: Shop, form: str) -> None:
    folder = shop.folder / "www"
    folder.mkdir()
    file = folder / "takings"
    shop.run("status", form, file)
    usual = os.umask(0)
    os.umask(usual)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~usual
    file.chmod(0o640)
    with file.open() as reader:
        shop.run("status", form, file)
        assert reader.read() != "", "a reader has the old file to its end"
        assert os.fstat(reader.fileno()).st_ino != file.stat().st_ino
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    # A file that cannot be put in place leaves nothing beside it.
    (folder / "taken").mkdir()
    assert "taken" in shop.fails("status", form, folder / "taken")
    assert sorted(path.name for path in folder.iterdir()) == ["taken", "takings"]


# --- the metrics ----------------------------------------------------------------------------------

Samples = dict[tuple[str, str], float]
LABELS = {"account", "kind", "state", "reason", "version"}


def metrics(shop: Shop) -> Samples:
    """The samples of a text that keeps the rules of Prometheus."""
    text = shop.run("status", "--prometheus")
    samples: Samples = {}
    heads: list[tuple[str, str]] = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("# HELP "):
            name = re.fullmatch(r"# HELP (takings_[a-z_]+) \S.*\.", line)
            kind = re.fullmatch(r"# TYPE (takings_[a-z_]+) (gauge|counter)", next(lines))
            assert name, line
            assert kind, line
            assert name[1] == kind[1], line
            assert name[1] not in dict(heads), "a family stands in one piece"
            assert (kind[2] == "counter") == name[1].endswith("_total")
            assert not re.search(r"_(?:ms|milliseconds|minutes|hours|count|sum|bucket)\b", name[1])
            heads.append((name[1], kind[2]))
            continue
        sample = re.fullmatch(r"(\w+)(\{(?:\w+=\"[^\"\\\n]*\",?)*\})? (-?\d+(?:\.\d+)?)", line)
        assert sample, line
        assert sample[1] == heads[-1][0], line
        assert set(re.findall(r"(\w+)=", sample[2] or "")) <= LABELS
        assert (sample[1], sample[2] or "") not in samples, "a series stands once"
        samples[sample[1], sample[2] or ""] = float(sample[3])
    if shutil.which("promtool"):
        check = ["promtool", "check", "metrics"]
        done = subprocess.run(
            check, input=text, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    return samples


def test_metrics_keep_the_rules_and_their_series(shop: Shop) -> None:
    shop.run("account", "add", "kustom-se", "--first-ever")
    before = metrics(shop)
    assert not [key for key in before if key[0] == "takings_oldest_row_timestamp_seconds"]
    shop.run("account", "rate", "default", "--per-second", "180")
    trouble(shop)
    after = metrics(shop)
    new = after.keys() - before.keys()
    assert {name for name, _ in new} == {"takings_oldest_row_timestamp_seconds"}
    assert not before.keys() - after.keys(), "an alert cannot end on a series that is gone"
    of = '{account="default",kind="capture",state="%s"}'
    assert after["takings_rows", of % "rejected"] == 3
    assert after["takings_needs_a_person", of % "rejected"] == 3
    assert after["takings_needs_a_person_minor_units", of % "stuck"] == 250_000
    assert after["takings_needs_a_person", '{account="default",kind="refund",state="unclear"}'] == 1
    paused = {
        labels for (name, labels), value in after.items() if name == "takings_paused" and value
    }
    assert paused == {'{account="kustom-se",reason="credentials"}'}
    assert after["takings_rate_limit_requests_per_second", '{account="default"}'] == 180
    assert abs(after["takings_written_timestamp_seconds", ""] - time.time()) < 300
    assert after["takings_worker_runs", ""] == 0


def test_metrics_of_what_was_done_and_of_clocks(shop: Shop) -> None:
    orders = shop.orders([[]] * 3)
    shop.enqueue("capture", [(order, "p", 100) for order in orders])
    shop.run("worker", "--until-quiet", "0")
    samples = metrics(shop)
    assert samples["takings_done_total", '{account="default",kind="capture"}'] == 3
    assert samples["takings_done_total", '{account="default",kind="refund"}'] == 0
    seen = samples["takings_worker_seen_timestamp_seconds", '{account="default"}']
    assert 0 < seen <= samples["takings_written_timestamp_seconds", ""]
    shop.sql("UPDATE takings_account SET seen_at = ?", now() + 3_600_000)
    back = metrics(shop)["takings_clock_went_back_seconds", '{account="default"}']
    assert 3000 < back <= 3600
    with shop.start("worker") as worker:
        shop.stop(worker)


# --- rules, dashboard, timer ----------------------------------------------------------------------


def names_of(text: str) -> set[str]:
    return set(re.findall(r"\btakings_[a-z_]+\b", text))


def test_rules_and_dashboard_speak_of_metrics_that_there_are(shop: Shop) -> None:
    trouble(shop)
    known = {name for name, _ in metrics(shop)}
    rules = (MONITORING / "takings.rules.yaml").read_text()
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    page = (ROOT / "docs/ledger/alerts.md").read_text()
    shown = set(re.findall(r"^\| `(takings_\w+)`", page, re.M))
    assert shown == known
    assert names_of(rules) <= known
    assert names_of("\n".join(expressions)) <= known
    for text in (rules, *expressions):
        for matched in re.findall(r"takings_\w+\{([^}]*)\}", text):
            assert set(re.findall(r"(\w+)=", matched)) <= LABELS, matched
    # Each reason for a pause belongs to one alert.
    said = [
        reason for part in re.findall(r'reason=~"([\w|]+)"', rules) for reason in part.split("|")
    ]
    paused = {
        re.findall(r'reason="(\w+)"', labels)[0]
        for name, labels in metrics(shop)
        if name == "takings_paused"
    }
    assert sorted(said) == sorted(paused)


def test_panels_lie_beside_each_other() -> None:
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_the_alerts_are_raised_and_end() -> None:
    """By their own tests, where Prometheus is; and each alert is in these."""
    rules = (MONITORING / "takings.rules.yaml").read_text()
    tests = (MONITORING / "takings.rules.test.yaml").read_text()
    alerts = re.findall(r"- alert: (\w+)", rules)
    assert len(alerts) == len(set(alerts)) == rules.count("severity:")
    assert set(alerts) == set(re.findall(r'alertname="(\w+)"', tests))
    if shutil.which("promtool"):
        for words in (
            ["check", "rules", "takings.rules.yaml"],
            ["test", "rules", "takings.rules.test.yaml"],
        ):
            done = subprocess.run(
                ["promtool", *words],
                cwd=MONITORING,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr


def test_what_cron_and_the_timer_call(shop: Shop) -> None:
    unit = (MONITORING / "takings-status.service").read_text()
    cron = (ROOT / "docs/ledger/alerts.md").read_text()
    lines = re.findall(r"^ExecStart=-(.*)$", unit, re.M)
    assert lines == re.findall(r"^\*/1 \* \* \* \* root (.*)$", cron, re.M)
    writable = re.findall(r"-(\S+)", re.findall(r"^ReadWritePaths=(.*)$", unit, re.M)[0])
    for line in lines:
        program, *words = line.split()
        file = Path(words.pop())
        assert str(file.parent) in writable
        assert program == "/usr/local/bin/takings"
        shop.run(*words, shop.folder / file.name)
    assert (shop.folder / "takings.prom").exists()
    assert (shop.folder / "takings.html").exists()


def test_the_timer_is_one_for_systemd(tmp_path: Path) -> None:
    for name in ("takings-status.service", "takings-status.timer"):
        text = (MONITORING / name).read_text()
        (tmp_path / name).write_text(text.replace("/usr/local/bin/takings", "/bin/true"))
    if shutil.which("systemd-analyze"):
        # Complaints go to the standard error, also with exit code 0.
        check = ["systemd-analyze", "verify", str(tmp_path / "takings-status.timer")]
        done = subprocess.run(check, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
