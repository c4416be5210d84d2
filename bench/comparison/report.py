"""Medians, ratios and targets, for people and as JSON."""

from statistics import median


def summarize(samples):
    """The medians of one tool's samples; None without any."""
    if not samples:
        return None
    values = [sample["value"] for sample in samples]
    cpu = [sample["cpu_s_per_gb"] for sample in samples if sample["cpu_s_per_gb"] is not None]
    return {"value": median(values), "least": min(values), "most": max(values), "samples": len(values),
            "cpu_s_per_gb": median(cpu) if cpu else None, "congestion": samples[-1]["congestion"],
            "path": samples[-1].get("path")}


def judge(target, summaries):
    """The target with its ratio, and whether it was met; `met` None: it cannot be told."""
    ours, other = summaries.get(target.ours), summaries.get(target.other)
    sign = "<=" if target.at_most else ">="
    against = f" x {target.other}" if target.other else " s/GB"
    judged = {"ours": target.ours, "target": f"{sign} {target.factor}{against}", "ratio": None, "met": None}
    if ours is None or ours[target.figure] is None or (target.other and other is None):
        return judged
    judged["ratio"] = ours[target.figure] / (other[target.figure] if target.other else 1)
    judged["met"] = judged["ratio"] <= target.factor if target.at_most else judged["ratio"] >= target.factor
    return judged


def verdict(met):
    return {True: "met", False: "MISSED", None: "not measured"}[met]


def print_row(row, summaries, reasons):
    print(f"\n{row.title}")
    for tool in row.tools:
        figures = summaries.get(tool.name)
        if figures is None:
            print(f"  {tool.name:<28} skipped: {'; '.join(reasons[tool.name])}")
            continue
        cpu = "" if figures["cpu_s_per_gb"] is None else f"  cpu {figures['cpu_s_per_gb']:.3f} s/GB"
        print(f"  {tool.name:<28}{figures['value']:>9.3f} {tool.unit:<5} ({figures['least']:.3f} … {figures['most']:.3f})"
              f"{cpu}  [{figures['congestion']}]")
        for reason in reasons.get(tool.name, []):
            print(f"  {'':<28} failed in {reason}")
    for target in row.targets:
        judged = judge(target, summaries)
        ratio = "-" if judged["ratio"] is None else f"{judged['ratio']:.3f}"
        print(f"  -> {judged['ours']:<25}{ratio:>9}  {judged['target']:<36} {verdict(judged['met'])}")


def print_bounds(name, figures):
    print(f"\n{name}")
    for key, value in figures.items():
        if key not in ("target", "met"):
            print(f"  {key:<28}{value}")
    print(f"  -> target {figures['target']}: {verdict(figures['met'])}")


def to_json(rows, summaries, samples, reasons, bounds, setting):
    return {
        "setting": setting,
        "rows": [{"key": row.key, "title": row.title,
                  "measurements": {
                      tool.name: {"unit": tool.unit, **(summaries[tool.name] or {}), "problems": reasons.get(tool.name, [])}
                      for tool in row.tools},
                  "targets": [judge(target, summaries) for target in row.targets]} for row in rows],
        "bounds": bounds,
        "samples": samples,
    }
