//! The tables, as Markdown.

use crate::groups::GROUPS;
use crate::rates::{Machine, Row};
use crate::shares::Taken;
use crate::{CASES, Report};
use std::fmt::Write as _;

/// All that was measured.
pub fn of(report: &Report) -> String {
    let mut page = format!("libtorch {}\n", report.libtorch);
    machine(&mut page, &report.machine);
    convolutions(&mut page, report);
    taken(&mut page, report);
    page
}

/// A line of a table. Writing to a string cannot fail, here and below.
fn line(page: &mut String, cells: &[String]) {
    let _ = writeln!(page, "| {} |", cells.join(" | "));
}

fn head(page: &mut String, cells: &[String]) {
    line(page, cells);
    let _ = writeln!(page, "|{}", "---|".repeat(cells.len()));
}

fn words<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn machine(page: &mut String, machine: &[Machine]) {
    let _ = writeln!(
        page,
        "\nMatrix products (GFLOP/s) and memory (GB/s), the fastest calls:\n"
    );
    let mut cells = words(["threads"]);
    if let Some(first) = machine.first() {
        cells.extend(first.gflops.iter().map(|(dtype, _)| (*dtype).to_owned()));
    }
    cells.extend(words(["copy", "triad"]));
    head(page, &cells);
    for one in machine {
        let mut cells = vec![one.threads.to_string()];
        cells.extend(one.gflops.iter().map(|(_, rate)| format!("{rate:.0}")));
        cells.extend([one.copy, one.triad].map(|rate| format!("{rate:.1}")));
        line(page, &cells);
    }
}

/// Of all convolutions of a network one after another the rates in GFLOP/s, and of the slowest and the fastest of them.
fn convolutions(page: &mut String, report: &Report) {
    let _ = writeln!(
        page,
        "\nAll convolutions of a network, each alone (GFLOP/s; in brackets the slowest and the fastest shape):\n"
    );
    head(
        page,
        &words([
            "network", "batch", "threads", "dtype", "layout", "forward", "backward",
        ]),
    );
    for case in CASES {
        for machine in &report.machine {
            for (dtype, _) in &machine.gflops {
                for layout in ["NCHW", "NHWC"] {
                    let rows: Vec<&Row> = (report.convolutions.iter())
                        .filter(|row| row.network == case.name && row.threads == machine.threads)
                        .filter(|row| row.dtype == *dtype && row.layout == layout)
                        .collect();
                    let mut cells = words([case.name]);
                    cells.extend([case.batch.to_string(), machine.threads.to_string()]);
                    cells.extend(words([*dtype, layout]));
                    cells.push(together(&rows, 1.0, |row| row.forward));
                    // Gradients of input and weight are a forward pass's multiply-adds each.
                    cells.push(together(&rows, 2.0, |row| row.backward));
                    line(page, &cells);
                }
            }
        }
    }
}

/// The rate of all, and those of the slowest and the fastest; a dash where nothing was measured.
fn together(rows: &[&Row], passes: f64, seconds: impl Fn(&Row) -> f64) -> String {
    let operations = |row: &Row| 2.0 * passes * row.shape.multiply_adds() * row.batch as f64;
    let each: Vec<f64> = (rows.iter())
        .map(|row| operations(row) / seconds(row) / 1e9)
        .collect();
    let times = |value: f64, row: &Row| value * row.times as f64;
    let all: f64 = rows.iter().map(|row| times(operations(row), row)).sum();
    let took: f64 = rows.iter().map(|row| times(seconds(row), row)).sum();
    if each.is_empty() || took <= 0.0 {
        return "-".into();
    }
    let least = each.iter().copied().fold(f64::INFINITY, f64::min);
    let most = each.iter().copied().fold(0.0, f64::max);
    format!("{:.0} ({least:.0} to {most:.0})", all / took / 1e9)
}

/// A column for each thing that was taken apart.
fn taken(page: &mut String, report: &Report) {
    let _ = writeln!(
        page,
        "\nOne thread: time, multiply-adds counted, the share of the peak rate of matrix products, and where the time goes:\n"
    );
    let column =
        |of: &dyn Fn(&Taken) -> String| -> Vec<String> { report.taken.iter().map(of).collect() };
    let row = |page: &mut String, name: &str, of: &dyn Fn(&Taken) -> String| {
        line(page, &[vec![name.to_owned()], column(of)].concat());
    };
    let title = |one: &Taken| {
        format!(
            "{}, `{}`, batch {}, {}",
            one.what, one.network, one.batch, one.dtype
        )
    };
    head(page, &[words([""]), column(&title)].concat());
    row(page, "ms", &|one| format!("{:.1}", 1e3 * one.seconds));
    row(page, "10^9 multiply-adds", &|one| {
        format!("{:.1}", one.multiply_adds / 1e9)
    });
    row(page, "GFLOP/s", &|one| {
        format!("{:.0}", 2.0 * one.multiply_adds / one.seconds / 1e9)
    });
    row(page, "of the peak", &|one| {
        let peak = (report.machine.iter())
            .filter(|machine| machine.threads == 1)
            .flat_map(|machine| &machine.gflops)
            .find(|(dtype, _)| *dtype == one.dtype);
        peak.map_or("-".into(), |(_, peak)| {
            let rate = 2.0 * one.multiply_adds / one.seconds / 1e9;
            format!("{:.0} %", 100.0 * rate / peak)
        })
    });
    let rest = ["other operations", "outside of operations"];
    for (index, name) in GROUPS.iter().chain(&rest).enumerate() {
        row(page, name, &|one| {
            format!("{:.1} %", 100.0 * one.shares[index])
        });
    }
    let _ = writeln!(
        page,
        "\nShares are libtorch's own account of its operations, each without those that it calls. Memory that an operation takes for itself \
         counts as the operation; `allocation` is what is asked for by name. The longest operations:\n"
    );
    for one in &report.taken {
        let longest: Vec<String> = (one.longest.iter())
            .map(|(name, share)| format!("`{name}` {:.1} %", 100.0 * share))
            .collect();
        let _ = writeln!(page, "- {}: {}", title(one), longest.join(", "));
    }
}
