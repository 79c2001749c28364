"""The pieces of the report's page: tables, cards and the style sheet."""

from html import escape


def percent(share: float | None) -> str:
    """A share as text; a dash when there is none."""
    return "–" if share is None else f"{100 * share:.1f}%"


def table(head, rows, caption: str = "", numbers=()) -> str:
    """A table of escaped texts; the columns numbered in `numbers` are set as numbers."""
    if not rows:
        return ""
    kind = ['class="number"' if i in numbers else "" for i in range(len(head))]
    top = "".join(
        f'<th scope="col" {k}>{escape(name)}</th>' for k, name in zip(kind, head, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row" {k}>{_cell(x)}</th>' if i == 0 else f"<td {k}>{_cell(x)}</td>"
            for i, (k, x) in enumerate(zip(kind, row, strict=True))
        )
        + "</tr>"
        for row in rows
    )
    return captioned(
        f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>", escape(caption)
    )


def captioned(markup: str, caption: str) -> str:
    """A table that scrolls when it is wider than the page, under a caption that does not."""
    said = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure class="tabular">{said}<div class="scroll" tabindex="0">{markup}</div></figure>'


class Markup(str):
    """Markup made by the report itself, which `table` does not escape."""


def _cell(value):
    if isinstance(value, Markup):
        return value
    return "–" if value is None else escape(str(value))


def card(name: str, figure: str, note: str) -> str:
    """One headline number."""
    return (
        f'<div><dt>{name}</dt><dd><span class="figure">{figure}</span>'
        f'<br><span class="note">{escape(note)}</span></dd></div>'
    )


# Light and dark, wide and narrow, and paper.
STYLE = """
:root { color-scheme: light dark; --ground: #fbfbfa; --card: #ffffff; --ink: #1d2329;
  --soft: #5b6670; --rule: #e3e6e8; --accent: #1f6fb2; --second: #b4560b; --heat: #1f6fb2;
  --on-heat: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --ground: #12161b; --card: #1a2027; --ink: #e4e8ec;
  --soft: #9aa6b2; --rule: #2c343d; --accent: #6db3ec; --second: #f0a35c; --heat: #4b9bdc;
  --on-heat: #0b0f13; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
.page { max-width: 1240px; margin: 0 auto; padding: 2rem 1.25rem 4rem; display: grid;
  grid-template-columns: minmax(0, 1fr); gap: 0 3rem; }
header { grid-column: 1 / -1; margin-bottom: 1.5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em;
  overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 0 0 .75rem; padding-top: .25rem; }
h3 { font-size: 1.02rem; margin: 1.5rem 0 .5rem; }
p { max-width: 46rem; margin: .4rem 0 .8rem; }
.soft, figcaption, .note { color: var(--soft); }
.note { font-size: .92rem; }
section { margin-bottom: 2.75rem; }
a { color: var(--accent); text-underline-offset: .15em; }
nav ol { list-style: none; margin: 0 0 2rem; padding: .6rem .9rem; display: flex;
  flex-wrap: wrap; gap: .2rem 1.1rem; background: var(--card); border: 1px solid var(--rule);
  border-radius: .6rem; font-size: .95rem; }
nav a { text-decoration: none; } nav a:hover { text-decoration: underline; }
@media (min-width: 1100px) { .page { grid-template-columns: 11rem minmax(0, 1fr); }
  nav ol { position: sticky; top: 1.5rem; flex-direction: column; background: none; border: 0;
    border-left: 2px solid var(--rule); border-radius: 0; padding: .1rem 0 .1rem 1rem; } }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .9rem;
  margin: 0 0 1rem; }
.cards div { background: var(--card); border: 1px solid var(--rule); border-radius: .7rem;
  padding: .9rem 1rem; }
.cards dt { color: var(--soft); font-size: .88rem; }
.cards dd { margin: 0; }
.cards .figure { font-size: 1.75rem; font-weight: 650; line-height: 1.25;
  font-variant-numeric: tabular-nums; }
.cards .note { line-height: 1.4; font-size: .84rem; }
.charts { display: grid; gap: 1.2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); }
figure { margin: 0 0 1.2rem; background: var(--card); border: 1px solid var(--rule);
  border-radius: .7rem; padding: .9rem; }
figcaption { font-size: .92rem; margin-top: .55rem; overflow-wrap: anywhere; }
figcaption b { color: var(--ink); }
figure img { display: block; width: 100%; height: auto; border-radius: .3rem; }
figure svg { display: block; width: 100%; height: auto; max-width: 32rem; }
svg text { font-size: 12.5px; fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .axis { fill: var(--ink); } svg .grid { stroke: var(--rule); }
svg .tick { stroke: var(--soft); }
svg polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg .series0 { stroke: var(--accent); } svg .series0 circle { fill: var(--accent); stroke: none; }
svg .series1 { stroke: var(--second); } svg .series1 polyline { stroke-dasharray: 6 4; }
svg .series1 rect { fill: var(--card); stroke-width: 1.6; }
svg .ideal { stroke: var(--soft); stroke-dasharray: 4 4; }
svg .bin { fill: var(--accent); fill-opacity: .55; stroke: var(--accent); }
.scroll { overflow: auto; max-height: 85vh; border: 1px solid var(--rule); border-radius: .7rem;
  background: var(--card); margin-bottom: 1rem; }
table { border-collapse: collapse; font-size: .92rem; min-width: 100%; }
.tabular { padding: 0; border: 0; background: none; }
.tabular figcaption { max-width: 46rem; margin: 0 0 .55rem; }
th, td { padding: .38rem .75rem; text-align: left; border-top: 1px solid var(--rule);
  vertical-align: top; overflow-wrap: break-word; max-width: 32rem; }
thead th { font-weight: 600; color: var(--soft); background: var(--card); position: sticky; top: 0;
  white-space: nowrap; border-top: 0; }
tbody th { font-weight: 500; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar { display: inline-block; width: 5rem; height: .55rem; margin-right: .6rem;
  border-radius: .3rem; background: linear-gradient(to right, var(--accent) var(--share),
  var(--rule) var(--share)); print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.share { display: inline-block; min-width: 3.3rem; }
.matrix { width: auto; min-width: 0; font-size: .82rem; }
.matrix th, .matrix td { padding: .2rem .35rem; border: 1px solid var(--rule); min-width: 2rem;
  text-align: center; vertical-align: middle; }
.matrix tbody th { text-align: right; white-space: nowrap; position: sticky; left: 0;
  background: var(--card); z-index: 1; }
.matrix thead th { vertical-align: bottom; z-index: 2; }
.matrix thead span { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; }
.matrix thead td { border: 0; }
.matrix td { font-variant-numeric: tabular-nums; print-color-adjust: exact;
  -webkit-print-color-adjust: exact;
  background: color-mix(in srgb, var(--heat) var(--share, 0%), transparent); }
.matrix .deep { color: var(--on-heat); } .matrix .zero { color: var(--soft); opacity: .55; }
.matrix .right { outline: 2px solid var(--accent); outline-offset: -2px; font-weight: 650; }
.together { white-space: nowrap; }
.heat-scale { display: inline-block; width: 8rem; height: .7rem; border-radius: .2rem;
  vertical-align: -.05rem; margin: 0 .4rem; background: linear-gradient(to right, #000004, #57106e,
  #bc3754, #f98e09, #fcffa4); print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.remarks { border-left: 3px solid var(--second); padding: .1rem 0 .1rem 1rem; margin: 1rem 0;
  list-style: none; max-width: 47rem; }
.remarks li { margin: .35rem 0; }
details { margin: .6rem 0 1rem; } summary { cursor: pointer; color: var(--accent); }
details .scroll { margin-top: .6rem; }
footer { grid-column: 1 / -1; color: var(--soft); font-size: .88rem;
  border-top: 1px solid var(--rule); padding-top: 1rem; }
@media (max-width: 640px) { body { font-size: 15px; } h1 { font-size: 1.5rem; }
  .page { padding-top: 1.2rem; } th, td { padding: .35rem .5rem; } .bar { width: 3rem; }
  .cards { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .cards div:last-child:nth-child(odd) { grid-column: 1 / -1; } svg text { font-size: 15px; } }
@media print { :root { --ground: #fff; --card: #fff; --ink: #000; --soft: #444; --rule: #ccc;
    --accent: #1f6fb2; --second: #b4560b; --heat: #1f6fb2; --on-heat: #fff; }
  body { font-size: 10.5pt; } nav { display: none; } .page { display: block; padding: 0; }
  .scroll { overflow: visible; max-height: none; } thead th { position: static; }
  figure:not(.tabular), .cards div, tr { break-inside: avoid; } h2, h3 { break-after: avoid; } }
"""
