"""How the page looks: one sheet, light and dark by what the reader's system says."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --page: #fbfbfa; --card: #ffffff; --ink: #1d2026; --soft: #5c6370; --line: #e3e4e8;
  --ours: #1f6feb; --rival: #a9b0bd; --second: #c2570c; --good: #1a7f37; --bad: #b3261e;
  --heat: 31, 111, 235; --fade: #f1f2f5;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14161a; --card: #1c1f25; --ink: #e7e9ee; --soft: #9aa3b2; --line: #313640;
    --ours: #6ea8fe; --rival: #5b6473; --second: #f0a35e; --good: #57c97a; --bad: #ff8a80;
    --heat: 110, 168, 254; --fade: #252a32;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 920px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 0 0 12px; }
p { margin: 0 0 12px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 20px; margin-top: 20px; }
.quiet, .note { color: var(--soft); }
.note { font-size: 13px; }
.verdict { font-size: 17px; font-weight: 600; margin-bottom: 14px; }
.verdict.good { color: var(--good); }
.verdict.bad { color: var(--bad); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; vertical-align: top; padding: 6px 10px 6px 0;
  border-bottom: 1px solid var(--line); overflow-wrap: break-word; max-width: 420px; }
th { color: var(--soft); font-weight: 500; white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
td.why { min-width: 220px; }
tr.ignored td { color: var(--soft); }
.chip { display: inline-block; padding: 0 8px; border-radius: 999px; background: var(--fade);
  font-size: 12.5px; white-space: nowrap; }
.warn { color: var(--bad); }
dl.cells { display: grid; grid-template-columns: minmax(0, auto) minmax(0, 1fr); gap: 2px 10px;
  margin: 0; font-size: 13.5px; }
.cells dt { color: var(--soft); overflow-wrap: anywhere; }
.cells dd { margin: 0; overflow-wrap: anywhere; }
.worst { display: grid; grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)); gap: 14px; }
.worst article { border: 1px solid var(--line); border-radius: 8px; padding: 12px; min-width: 0; }
.worst h3 { font-size: 14px; margin: 0 0 8px; overflow-wrap: anywhere; }
.thumbs { display: flex; gap: 6px; flex-wrap: wrap; margin-bottom: 6px; }
.thumbs img { height: 72px; border-radius: 4px; background: var(--fade); }
.matrix { border-collapse: separate; border-spacing: 2px; width: auto; font-size: 13px; }
.matrix td, .matrix th { border: 0; padding: 4px 8px; text-align: center;
  font-variant-numeric: tabular-nums; max-width: 120px; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
.matrix th.row { text-align: right; max-width: 240px; }
.matrix td { min-width: 44px; border-radius: 4px; background: rgba(var(--heat), var(--share)); }
.matrix td.right { outline: 1px solid var(--line); font-weight: 600; }
.matrix td.strong { color: var(--page); }
.legend { display: flex; gap: 18px; font-size: 13px; color: var(--soft); margin-bottom: 4px; }
.legend span::before { content: ""; display: inline-block; width: 18px; height: 3px;
  margin-right: 6px; vertical-align: middle; background: var(--ours); }
.legend span.s1::before { background: var(--second); }
svg { width: 100%; min-width: 460px; height: auto; display: block; }
svg.snug { min-width: 0; max-width: 640px; }
svg text { fill: var(--ink); font-size: 13px; }
svg .tick, svg .axis { fill: var(--soft); font-size: 11.5px; }
svg .value { font-variant-numeric: tabular-nums; font-weight: 600; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .ideal { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 5 4; }
svg .ours { fill: var(--ours); }
svg .rival { fill: var(--rival); }
svg .line { fill: none; stroke: var(--ours); stroke-width: 2; }
svg .dot, svg .point { fill: var(--ours); }
svg .point { fill-opacity: .45; }
svg .line.s1 { stroke: var(--second); }
svg .dot.s1 { fill: var(--second); }
details summary { cursor: pointer; color: var(--soft); margin-bottom: 8px; }
pre { font: 12.5px/1.45 ui-monospace, Menlo, Consolas, monospace; overflow-x: auto; margin: 0; }
@media print { section { break-inside: avoid; } body { background: #fff; } }
"""
