//! The four counts of a decision: training images and unseen ones, called training images or not.

use maud::{Markup, html};

use crate::format::{fpr_name, grouped};
use crate::release;
use crate::report::{Report, View};

/// The strongest attack on every model at one threshold; nothing where none can be measured.
pub fn table(report: &Report) -> Markup {
    let models = report.models.iter();
    let rows: Vec<_> = models
        .filter_map(|m| {
            let strongest = m.strongest()?;
            let point = release::counted_at(&strongest.view(m.primary)?.tpr_at_fpr)?;
            Some((m, strongest, point))
        })
        .collect();
    let count = |n: usize| html! { td.n data-value=(n) { (grouped(n as i64)) } };
    html! {
        @if !rows.is_empty() {
            h3 #calls { "Right and wrong calls of the strongest attack" }
            div.scroll tabindex="0" role="region" aria-label="Right and wrong calls" { table.plain data-sortable="" {
                thead { tr {
                    th scope="col" { "Model" } th.n scope="col" { "training images" small { "called so" } } th.n scope="col" { "training images" small { "missed" } }
                    th.n scope="col" { "unseen images" small { "called training images" } } th.n scope="col" { "unseen images" small { "not called so" } }
                } }
                tbody { @for (m, attack, p) in &rows { tr {
                    th scope="row" { (m.title) @if m.primary != View::Pooled { " on " (m.primary.name()) }
                        small { (attack.title) @if p.fpr > 0.011 { ", at " (fpr_name(p.fpr)) " false alarms" } } }
                    (count(p.tp)) (count(p.n_members.saturating_sub(p.tp))) (count(p.fp)) (count(p.n_nonmembers.saturating_sub(p.fp)))
                } } }
            } }
            p.caption {
                "The threshold lets at most 1 in 100 unseen images be called a training image" @if rows.iter().any(|(_, _, p)| p.fpr > 0.011) { ", or as many as the line says" } ". "
                "How often a call is right depends on how many training images are among the pictures that somebody tries. Where few are, most calls are wrong."
            }
        }
    }
}
