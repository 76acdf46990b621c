"""The results of a benchmark as ratios, tables and bars."""
from html import escape
from statistics import median

from workloads import title

COLOURS = {"ext4": "#4c78a8", "xfs": "#e08214", "btrfs": "#4d9a4d", "tmpfs": "#9467bd"}


def ratio(cell, peer):
    """The median over the rounds of zcp's time divided by the peer's; below 1, zcp is faster."""
    return median(z / p for z, p in zip(cell["tools"]["zcp"]["wall"], cell["tools"][peer]["wall"]))


def contest(cell):
    """[(ratio, peer)], the fastest peer first, of the peers whose copies kept everything that zcp's kept."""
    tools = cell["tools"]
    if not tools.get("zcp", {}).get("wall"):
        return []
    return sorted(((ratio(cell, name), name) for name, t in tools.items() if name != "zcp" and t["wall"]), reverse=True)


def text(cell):
    """The table of one cell, for the terminal."""
    out = [f"\n{cell['fs']}: {title(cell['workload'])}"]
    out.append(f"  {'':10}{'median':>10}{'min':>10}{'user+sys':>10}{'RSS':>9}  zcp/it")
    ratios = {name: r for r, name in contest(cell)}
    for name, t in cell["tools"].items():
        if t["wall"]:
            row = f"{median(t['wall']):8.2f}ms{min(t['wall']):8.2f}ms{median(t['cpu']):8.2f}ms{t['rss'] / 1024:5.1f}MiB"
            row += f"  {ratios[name]:.2f}" if name in ratios else "      "
        else:
            row = f"{t['first']:8.2f}ms (first copy only)" if t["first"] else "         -"
        remarks = [t["state"]] * (t["state"] != "ok") + [f"-{what}" for what in t["lost"]]
        out.append(f"  {name:10}{row}  {', '.join(remarks)}".rstrip())
    return "\n".join(out)


def losses(cells):
    """The cells where a peer was faster. The ratio of the minima shows whether noise was the reason."""
    found = []
    for c in cells:
        for r, peer in contest(c)[:1]:
            least = min(c["tools"]["zcp"]["wall"]) / min(c["tools"][peer]["wall"])
            found += [f"  {r:.2f} of {peer} (minima {least:.2f}): {c['fs']}, {title(c['workload'])}"] * (r > 1)
    return "\n".join(found) or "  none"


def columns(cells):
    return list(dict.fromkeys(c["fs"] for c in cells)), list(dict.fromkeys(c["workload"] for c in cells))


def markdown(cells):
    systems, workloads = columns(cells)
    lines = ["| workload | " + " | ".join(systems) + " |", "|---" * (len(systems) + 1) + "|"]
    for workload in workloads:
        row = [title(workload)]
        for fs in systems:
            found = next((contest(c) for c in cells if (c["fs"], c["workload"]) == (fs, workload)), [])
            parts = [f"{r:.2f} {name}" for r, name in found[:1]]
            parts += [f"{r:.2f} cp" for r, name in found[1:] if name == "cp"]
            if found and found[0][0] > 1:
                parts[0] = f"**{parts[0]}**"
            row.append(" · ".join(parts) or "-")
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


STYLE = """text { font: 12px system-ui, sans-serif; fill: #24292f } .quiet { fill: #6e7781 } .loss { font-weight: bold }
.one { stroke: #24292f; stroke-dasharray: 4 3 } .cp { stroke: #24292f; stroke-width: 2 } .grid { stroke: #8885 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .quiet { fill: #9198a1 } .one, .cp { stroke: #e6edf3 } }"""


def svg(cells):
    """Bars show zcp's time divided by the best peer's, ticks that divided by cp's, both up to 1.5."""
    systems, workloads = columns(cells)
    left, wide, high, end = 320, 400, 15, 1.5
    body, y = [], 58

    def x(r):
        return left + wide * min(r, end) / end

    def write(at, line, content, kind="", anchor="start"):
        body.append(f'<text x="{at:.0f}" y="{line:.0f}" class="{kind}" text-anchor="{anchor}">{escape(content)}</text>')

    for workload in workloads:
        group = [(c, contest(c)) for c in cells if c["workload"] == workload and contest(c)]
        if not group:
            continue
        write(left - 60, y + 12, title(workload), anchor="end")
        for cell, found in group:
            best, peer = found[0]
            colour = COLOURS.get(cell["fs"], "#888")
            write(left - 6, y + 11, cell["fs"], "quiet", "end")
            body.append(f'<rect x="{left}" y="{y + 2}" width="{x(best) - left:.1f}" height="11" fill="{colour}"/>')
            for r in [r for r, name in found if name == "cp"]:
                body.append(f'<path class="cp" d="M{x(r):.1f} {y} v{high}"/>')
            write(x(best) + 8, y + 11, f"{best:.2f} {peer}", "loss" if best > 1 else "")
            y += high
        y += 8
    write(left, 18, "Time of zcp by that of the fastest peer (bar) and of cp (tick): shorter is faster")
    for r in (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5):
        kind = "one" if r == 1 else "grid"
        body.insert(0, f'<path class="{kind}" d="M{x(r):.1f} 46 V{y}"/>')
        write(x(r), 40, f"{r:g}", "quiet", "middle")
    size = f'width="{left + wide + 90}" height="{y + 8}" viewBox="0 0 {left + wide + 90} {y + 8}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n' + "\n".join(body) + "\n</svg>\n"
