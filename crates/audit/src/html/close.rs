//! Controls, how to read the page, references.

use dualmd_record::Words;
use maud::{Markup, html};

use crate::format::{interval, p_value, rate};
use crate::report::Report;

/// Would the audit have seen a leak where there is none?
pub fn controls(report: &Report) -> Markup {
    let text = |words: &Option<Words>| words.as_ref().map_or_else(String::new, Words::to_string);
    let title = |name: &str| {
        report
            .models
            .iter()
            .find(|m| m.name == name)
            .map_or_else(|| name.to_owned(), |m| m.title.clone())
    };
    let attack = |name: &str| {
        report
            .attacks()
            .into_iter()
            .find(|a| a.0 == name)
            .map_or_else(|| name.to_owned(), |a| a.1)
    };
    html! {
        section #controls {
            h2 { "Controls" }
            p.lede { "Checks of the audit itself. Both must find nothing." @if report.is_void() { " The audit is void: see the top of the page." } }
            div.controls {
                article {
                    h3 { "Blind baseline" }
                    @match &report.controls.blind_baseline {
                        None => { p { strong { "Not run. " } "Nothing rules out that members and non-members differ in something that has nothing to do with the model (file format, size, source)." } }
                        Some(b) => {
                            p.figure { (rate(b.auc)) small { " AUC, 95 % interval " (interval(b.auc_ci)) } }
                            p { strong { (match &*b.outcome { "void" => "Void. ", "warning" => "Warning. ", _ => "Passed. " }) }
                                @match &*b.outcome {
                                    "void" => { "A classifier that never saw the model separates the two image sets." }
                                    "warning" => { "A classifier that never saw the model does slightly better than chance; read small leaks with care." }
                                    _ => { "A classifier that never saw the model cannot tell members from non-members." }
                                }
                            }
                            @if !text(&b.method).is_empty() { p.caption { "Method: " (text(&b.method)) @if !text(&b.features).is_empty() { ". Features: " (text(&b.features)) } } }
                            @if b.outcome != "passed" && !b.why.is_empty() { p { (b.why) } }
                            @if !b.families.is_empty() {
                                p.caption { "By what it looked at: "
                                    @for (i, f) in b.families.iter().enumerate() { @if i > 0 { ", " } (f.name) " " (rate(f.auc)) " (" (interval(f.auc_ci)) ")" @if f.telling { " telling" } }
                                    "." @if let Some(p) = b.p_value { " Chance of this or more if membership means nothing: " (p_value(p)) "." }
                                }
                            }
                            p.caption { "Rule, fixed in advance: "
                                // Files of earlier versions hold no test, so the interval decided.
                                @if b.p_value.is_some() { "the sets differ when that chance is at most 0.01; void when the interval of the most telling kind of look then lies above " (crate::controls::VOID_ABOVE) ", otherwise a warning." }
                                @else { "void when the whole interval lies above " (crate::controls::VOID_ABOVE) ", warning when it lies above 0.5." }
                            }
                        }
                    }
                }
                article {
                    h3 { "Labels drawn anew" }
                    @match &report.controls.null {
                        None => { p { strong { "Not run." } } }
                        Some(n) => {
                            p.figure { (rate(n.auc)) small { " mean AUC, 95 % of the draws in " (interval(n.auc_ci)) } }
                            p { strong { @if n.passed { "Passed. " } @else { "Failed. " } }
                                "Who is a member was drawn by lot, " (crate::format::grouped(n.redraws as i64)) " times. So the strongest attack (" (attack(&n.attack)) " on " (title(&n.model)) ") must be at chance, and " @if n.passed { "it is" } @else { "it is not" } ". In theory 95 % of the draws lie in " (interval(n.expected_ci)) " with so many images." }
                            p.caption { @if n.p_value < 0.0015 { "No draw is as far from 0.5 as the true labels are." } @else { "Share of draws as far from 0.5 as the true labels: " (p_value(n.p_value)) "." } " Seed " (n.seed) "." }
                        }
                    }
                }
            }
        }
    }
}

/// The vocabulary and the rules of decision.
pub fn how_to_read(report: &Report) -> Markup {
    let terms = [
        (
            "member",
            "Member, membership inference",
            "A member is an image that the model was trained on. Membership inference asks of one image whether it is a member. Whoever asks must already hold that image. What is given away is the answer, such as that the person in it was a patient of this hospital.",
        ),
        (
            "auc",
            "AUC",
            "The chance that a random member scores above a random non-member. 0.5 is guessing, 1 is certainty. Below 0.5 an attack is wrong more often than guessing, which an attacker can turn round: the distance from 0.5 counts, not the side. The direction of every score was fixed beforehand; no AUC here was flipped.",
        ),
        (
            "found",
            "Members found at 1 false alarm in 100",
            "A false alarm is an unseen image that an attack takes for a member. The number is how many members score above all but 1 % of the non-members. One record that is found with certainty is a breach even when the average looks harmless, so it matters more than the AUC. It is never rounded up to a threshold with more than 1 % false alarms.",
        ),
        (
            "measurable",
            "Not measurable",
            "A rate of 0.1 % needs at least 1,000 non-members. With fewer the number would rest on no observation at all, and none is given.",
        ),
        (
            "intervals",
            "Intervals",
            "All are of 95 %, and one AUC can have three. In the tables: of that attack alone, on all images that it scored. On the first screen and in the verdict: of the same AUC, widened for the choice among the attacks. In the table of the best attack: of its AUC on the half of the images that did not choose it. They cover the choice of images, not of training seeds, unless a table says so. For AUCs they are the union of DeLong's on the logit scale and Newcombe's method 5, for rates exact (Clopper-Pearson).",
        ),
        (
            "families",
            "Many attacks, families of looks",
            "The best of several attacks looks good by luck. A leak is claimed only if it survives Bonferroni's correction for all attacks on that model: the corrected AUC interval lies above 0.5, or an exact test at the lowest measurable false-alarm rate shows it. Attacks that are corrected together are one family of looks: those on all members of a model, and those on its halves. Each calls a model that leaks nothing leaky at most once in 20 audits. Under the verdict stands how often luck alone would find something in a report with as many families.",
        ),
        (
            "advice",
            "Do not publish, measure again, nothing found",
            "Rules of thumb, fixed in advance. Do not publish: an attack that needs no more than this tells members from non-members, or the model generates copies. Only if the set is no secret: no single image is told apart, all of them together are. Not tested: no attack that needs just this gave a result. Measure again: nothing was found, but with so few images a leak of more than AUC 0.60 would have gone unseen. Nothing found: it would have been seen. None of them makes a model safe; one person found with certainty can be one too many.",
        ),
        (
            "set",
            "Only the set as a whole",
            "No attack tells a single image from an unseen one, but a test of whole sets tells all members together from non-members: that these images were used can be shown, which of them cannot.",
        ),
        (
            "p",
            "p",
            "The chance of a difference at least this large if membership made none. Small means that luck is a poor explanation. It is no chance that the model leaks.",
        ),
        (
            "epsilon",
            "Epsilon (ε)",
            "The scale of differential privacy. The numbers here bound from below what the training can claim; they are no promise from above. 0 says that no ε is refuted; a leak can be there all the same.",
        ),
        (
            "halves",
            "D1 and D2",
            "The two disjoint halves of the members. Teacher 1 never saw D2, teacher 2 never saw D1, and a DistillMD student learns each half from the teacher that did not see it. An average over both can hide what happens in each.",
        ),
        (
            "nothing",
            "No leak seen",
            "The attacks of this list, with this many images, found nothing beyond chance. It does not mean that there is nothing: stronger attacks, more images or another training may find it. This page never certifies that a model holds no personal data.",
        ),
    ];
    html! {
        section #reading {
            h2 { "How to read this" }
            dl.terms { @for (id, term, text) in terms { dt id={ "term-" (id) } { (term) } dd { (text) } } }
            @if report.run.get("compared").is_some() {
                p { "All numbers come from the files of the audits that were put together: " code { "scores/*.csv" } " in the folder of each (one score per image and attack). " code { "findings.csv" } " and " code { "report.json" } " beside this page have all digits. The command in the settings makes the page again." }
            } @else {
                p { "All numbers come from the files beside this page: " code { "scores/*.csv" } " (one score per image and attack), " code { "findings.csv" } " and " code { "report.json" } " (all digits). " code { "dualmd report" } " rebuilds the page from them." }
            }
        }
    }
}

/// Where the attacks, the defences and the statistics come from.
pub fn references() -> Markup {
    let list = [
        (
            "Defences",
            "Dual-Model Defense: Safeguarding Diffusion Models from Membership Inference Attacks through Disjoint Data Splitting (2024).",
            "",
        ),
        (
            "SecMI",
            "Duan et al., Are Diffusion Models Vulnerable to Membership Inference Attacks? ICML 2023.",
            "2302.01316",
        ),
        (
            "PIA, PIAN",
            "Kong et al., An Efficient Membership Inference Attack for the Diffusion Model by Proximal Initialization. ICLR 2024.",
            "2305.18355",
        ),
        (
            "SimA",
            "Rao, Qu, Moyer, score-based membership inference, 2025.",
            "2509.25003",
        ),
        (
            "Loss",
            "Matsumoto, Miura, Yanai, Membership Inference Attacks against Diffusion Models. 2023.",
            "2302.03262",
        ),
        (
            "Low false-alarm rates",
            "Carlini et al., Membership Inference Attacks From First Principles. IEEE S&P 2022.",
            "2112.03570",
        ),
        (
            "Copies",
            "Pizzi et al., A Self-Supervised Descriptor for Image Copy Detection (SSCD). CVPR 2022.",
            "2202.10261",
        ),
        (
            "Bounds on epsilon",
            "Steinke, Nasr, Jagielski, Privacy Auditing with One (1) Training Run. NeurIPS 2023.",
            "2305.08846",
        ),
        (
            "Blind baselines",
            "Das, Zhang, Tramèr, Blind Baselines Beat Membership Inference Attacks for Foundation Models. 2024.",
            "2406.16201",
        ),
        (
            "Weak evaluations",
            "Aerni, Zhang, Tramèr, Evaluations of Machine Learning Privacy Defenses are Misleading. CCS 2024.",
            "2404.17399",
        ),
        (
            "AUC intervals",
            "DeLong, DeLong, Clarke-Pearson, Comparing the areas under two or more correlated receiver operating characteristic curves. Biometrics 44, 1988.",
            "",
        ),
        (
            "",
            "Newcombe, Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part 2. Statistics in Medicine 25, 2006.",
            "",
        ),
        (
            "Rates",
            "Clopper, Pearson, The use of confidence or fiducial limits illustrated in the case of the binomial. Biometrika 26, 1934.",
            "",
        ),
    ];
    html! {
        section #references {
            h2 { "References" }
            ul.references { @for (topic, text, arxiv) in list { li { @if !topic.is_empty() { strong { (topic) } " " } (text) @if !arxiv.is_empty() { " arXiv:" (arxiv) } } } }
        }
    }
}

/// What EDPB Opinion 28/2024 asks for, row by row, with what this audit has to say on it.
pub fn edpb(report: &Report) -> Markup {
    let word = |status| match status {
        crate::edpb::Status::Evidence => "evidence",
        crate::edpb::Status::Partly => "in part",
        crate::edpb::Status::Missing => "missing",
        crate::edpb::Status::Outside => "not by an audit",
    };
    html! {
        section #edpb {
            h2 { "EDPB Opinion 28/2024" }
            p.lede { (crate::edpb::PREAMBLE) }
            details {
                summary { "What the Opinion asks for, and what this audit holds" }
                div.scroll { table.plain.words data-sortable="" {
                    thead { tr { th scope="col" { "Asked for" } th scope="col" { "Paragraphs" } th scope="col" { "AISVS, CNIL" } th scope="col" { "Here" } th scope="col" { "Answer" } } }
                    tbody { @for row in crate::edpb::rows(report) { tr {
                        th scope="row" { (row.ask.topic) small { (row.ask.asks) } }
                        td { (row.ask.paragraphs.unwrap_or("not checked")) }
                        td { (row.beside) }
                        td { (word(row.status)) }
                        td { (row.answer) @if let Some(anchor) = row.section { " " a href={ "#" (anchor) } { "See above." } } }
                    } } }
                } }
                p.caption { (crate::edpb::BESIDE_READ) }
            }
        }
    }
}
