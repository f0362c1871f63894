//! How many generated images pass for copies of training images.

use dualmd_record::utility::Copying;
use maud::{Markup, html};

use super::figure;
use crate::conclusion::{beyond, copied, copies_in_words};
use crate::format::{grouped, percent, percent_interval, significant};
use crate::report::{ModelReport, Report};

/// The section; nothing where nothing was counted.
pub fn section(report: &Report) -> Markup {
    let rows: Vec<(&ModelReport, &Copying)> = report
        .models
        .iter()
        .flat_map(|m| m.copying.iter().map(move |c| (m, c)))
        .collect();
    let text = rows.iter().any(|(_, c)| c.own_prompt.is_some());
    let whole = |n: usize| html! { td.n data-value=(n) { (grouped(n as i64)) } };
    let body = html! {
        div.scroll tabindex="0" role="region" aria-label="Copies of training images" { table.plain data-sortable="" {
            thead { tr {
                th scope="col" { "Model" } th.n scope="col" { "generated images that pass for copies" } th.n scope="col" { "by chance" small { "of as many unseen images" } }
                th.n scope="col" { "held against all images" small { "by a threshold of its own" } } th.n scope="col" { "different members" small { "among these" } } th.n scope="col" { "that threshold" }
                @if text { th.n scope="col" { "own image, members" } th.n scope="col" { "own image, unseen" } }
            } }
            tbody { @for (m, c) in &rows { tr {
                th scope="row" { (m.title) small { (c.features) } }
                td.n data-value=(c.control.members.copies) { (grouped(c.control.members.copies as i64)) " of " (grouped(drawn(c) as i64)) }
                (whole(c.control.heldout.copies))
                td.n data-value=(c.found.copies) { (grouped(c.found.copies as i64)) " of " (grouped(c.n_generated as i64)) small { (percent(share(c))) " (" (percent_interval(c.found.share_ci)) ")" } }
                (whole(c.found.distinct))
                td.n data-value=(c.found.threshold) { (if lower(c) { "below " } else { "above " }) (significant(c.found.threshold)) small { (c.likeness) } }
                @if text { @for own in [c.own_prompt.as_ref().map(|o| o.members), c.own_prompt.as_ref().map(|o| o.heldout)] {
                    td.n data-value=[own] { @match own { Some(v) => (significant(v)), None => "-" } }
                } }
            } } }
        } }
    };
    html! {
        @if let Some((_, first)) = rows.first() {
            section #copies {
                h2 { "Copies of training images" }
                p.lede { "A generated image passes for a copy if it is more like a training image than nearly all unseen images are. Some pass by chance, and these are counted too. What passes beyond chance is probably a training image, for whoever sees it." }
                (figure("wide", body, caption(&rows)))
                details { summary { "How copies are counted" } p { (method(&rows, first)) } }
            }
        }
    }
}

fn lower(copying: &Copying) -> bool {
    copying.likeness == "rmse"
}

/// Generated images that the control looked at.
fn drawn(copying: &Copying) -> usize {
    copying.control.drawn.unwrap_or(copying.n_generated)
}

fn share(copying: &Copying) -> f64 {
    copying.found.copies as f64 / copying.n_generated.max(1) as f64
}

/// What was found.
fn caption(rows: &[(&ModelReport, &Copying)]) -> Markup {
    let of_models = rows.iter().filter_map(|(m, _)| Some((*m, copied(m)?)));
    let most = of_models.max_by_key(|(_, c)| beyond(c));
    html! {
        @match most {
            Some((m, c)) => {
                "Most beyond chance: " (m.title) " by " code { (c.features) } ", " (copies_in_words(c)) ". "
            }
            None => { "No model's count is clearly beyond what chance explains. " }
        }
        @if rows.iter().all(|(_, c)| c.likeness == "rmse") { "Looked for by pixels only, which do not find a copy that is moved, cropped or recoloured. SSCD does, and was not at hand (" code { "cargo xtask features" } ", in a source checkout, fetches it; " code { "DUALMD_SSCD" } " names its folder). " }
        "The first two counts are those of the verdict: they hold the generated images against as many members as unseen images. The third holds them against all members, by another threshold, so its number is another. A few hundred images show the copies among a few hundred images, and no more."
    }
}

/// How it was counted.
fn method(rows: &[(&ModelReport, &Copying)], first: &Copying) -> Markup {
    html! {
        @if rows.iter().any(|(_, c)| c.own_prompt.is_some()) { "Own image: mean likeness of what a caption draws to the image it belongs to. " }
        "The first two counts compare what the model draws with as many members as unseen images, " (grouped(first.control.n as i64)) " of either. A generated image must pass a threshold that " (percent(first.control.false_copy_rate)) " of real images of the other side pass. "
        "None is a copy of an unseen image, so the second count is chance. It can exceed that share: what a model draws is no real image and may pass more often, being smooth or typical. (With prompts the second count is of what is drawn for captions that no model saw.) "
        "The third count has a threshold that " (percent(first.false_copy_rate)) " of all unseen images pass. Chance is not counted for it. "
        code { "rmse" } " of pixels is lower and a cosine of " code { "sscd" } " higher where images are more alike. Intervals are of 95 %, over the images drawn."
    }
}
