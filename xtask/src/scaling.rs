//! `cargo xtask scaling`: how long trainings take on many GPUs, from named inputs. All of it is arithmetic: what is measured, counted
//! and assumed stands in `docs/scaling.json`, and the tables that follow from it in `docs/scaling.md`, which a test compares.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The inputs, and the page with the tables.
const INPUTS: &str = "docs/scaling.json";
const PAGE: &str = "docs/scaling.md";

const GPUS: [usize; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// How the page marks where a table begins and ends.
const BEGIN: &str = "<!-- cargo xtask scaling: ";
const END: &str = "<!-- end -->";

/// A number that the tables follow from.
struct Input {
    value: f64,
    unit: String,
    /// `measured`, `counted`, `given` (by the paper) or `assumed`.
    kind: String,
    source: String,
}

/// All of them, by name, and their order.
struct Inputs {
    known: BTreeMap<String, Input>,
    order: Vec<String>,
}

impl Inputs {
    fn parse(text: &str) -> Result<Self> {
        let values: Vec<Value> = serde_json::from_str(text).context(INPUTS)?;
        let mut inputs = Self {
            known: BTreeMap::new(),
            order: Vec::new(),
        };
        for value in &values {
            let text = |key: &str| {
                let found = value.get(key).and_then(Value::as_str);
                found.with_context(|| format!("{INPUTS}: an input without `{key}`: {value}"))
            };
            let name = text("name")?.to_owned();
            let number = value.get("value").and_then(Value::as_f64);
            let number = number.filter(|n| *n > 0.0 && n.is_finite());
            let input = Input {
                value: number
                    .with_context(|| format!("{INPUTS}: {name}: `value` is no number above 0"))?,
                unit: text("unit")?.to_owned(),
                kind: text("kind")?.to_owned(),
                source: text("source")?.to_owned(),
            };
            if !["measured", "counted", "given", "assumed"].contains(&input.kind.as_str()) {
                bail!(
                    "{INPUTS}: {name}: `kind` is measured, counted, given or assumed, not {}",
                    input.kind
                );
            }
            inputs.order.push(name.clone());
            if inputs.known.insert(name.clone(), input).is_some() {
                bail!("{INPUTS}: {name} is there twice");
            }
        }
        Ok(inputs)
    }

    fn get(&self, name: &str) -> Result<f64> {
        let input = self.known.get(name);
        Ok(input
            .with_context(|| format!("{INPUTS}: there is no `{name}`"))?
            .value)
    }

    fn table(&self) -> String {
        let mut out = String::from("| input | value | | from |\n|---|---|---|---|\n");
        for name in &self.order {
            if let Some(input) = self.known.get(name) {
                let Input {
                    value,
                    unit,
                    kind,
                    source,
                } = input;
                out += &format!("| `{name}` | {value} {unit} | **{kind}** | {source} |\n");
            }
        }
        out
    }
}

/// A network of the paper, with the recipe that trains it.
struct Recipe {
    /// Floating-point operations of a forward pass of one image.
    forward: f64,
    /// Bytes of a gradient in f32.
    gradient: f64,
    batch: f64,
    steps: f64,
    /// Floating-point operations a second.
    speed: f64,
    /// Seconds of the smallest step.
    least: f64,
    /// Calls of the network for all images that are judged of a model.
    drawing: f64,
}

/// A gradient costs two forward passes beside its own.
const TRAINING: f64 = 3.0;

impl Recipe {
    fn read(inputs: &Inputs, name: &str) -> Result<Self> {
        let of = |what: &str| inputs.get(&format!("{name}_{what}"));
        Ok(Self {
            forward: of("gmac")? * 2e9,
            gradient: of("parameters")? * 4e6,
            batch: of("batch")?,
            steps: of("steps")?,
            speed: of("speed")? * 1e12,
            least: inputs.get("least_step")? / 1e3,
            drawing: of("images")? * of("calls")?,
        })
    }

    /// Seconds that a rank computes for a step, of `ranks`; `taught`: a teacher answers for each image.
    fn computing(&self, ranks: usize, taught: bool) -> f64 {
        // The rank with most images keeps the others waiting.
        let rows = (self.batch / ranks as f64).ceil();
        let work = TRAINING + f64::from(u8::from(taught));
        (rows * self.forward * work / self.speed).max(self.least)
    }

    /// Seconds of a step, and of its communication.
    fn step(&self, ranks: usize, taught: bool, links: &Links) -> (f64, f64) {
        let sum = links.sum(self.gradient, ranks);
        (self.computing(ranks, taught) + sum, sum)
    }

    /// Hours of a training by `ranks`.
    fn training(&self, ranks: usize, taught: bool, links: &Links) -> f64 {
        self.steps * self.step(ranks, taught, links).0 / 3600.0
    }

    /// Hours of drawing a model's images on one GPU.
    fn drawing(&self) -> f64 {
        self.drawing * self.forward / self.speed / 3600.0
    }
}

/// What gradients go over.
struct Links {
    machine: usize,
    /// Bytes a second between GPUs of a machine, and between machines.
    inside: f64,
    between: f64,
    /// Seconds.
    latency: f64,
}

impl Links {
    fn read(inputs: &Inputs, between: &str) -> Result<Self> {
        Ok(Self {
            machine: inputs.get("gpus_a_machine")? as usize,
            inside: inputs.get("inside")? * 1e9,
            between: inputs.get(between)? * 1e9,
            latency: inputs.get("latency")? / 1e3,
        })
    }

    /// Seconds of a sum over `ranks`: a ring in each machine, a ring of machines. A ring of N sends 2 (N - 1) / N of the bytes in
    /// 2 (N - 1) messages.
    fn sum(&self, bytes: f64, ranks: usize) -> f64 {
        let ring = |n: usize, rate: f64| {
            let n = n as f64;
            2.0 * (n - 1.0) * (bytes / n / rate + self.latency)
        };
        let machines = ranks.div_ceil(self.machine);
        ring(ranks.min(self.machine), self.inside) + ring(machines, self.between)
    }
}

/// A training, in hours, with the places of those it waits for.
#[derive(Clone)]
struct Job {
    hours: f64,
    needs: Vec<usize>,
}

/// Hours until all jobs are done by `workers`, each of which takes the job with the longest chain behind it that is ready.
fn queue(jobs: &[Job], workers: usize) -> f64 {
    // A job stands behind those it needs, so that from the end all that wait for one are known.
    let mut chain: Vec<f64> = jobs.iter().map(|job| job.hours).collect();
    for (at, job) in jobs.iter().enumerate().rev() {
        for &need in &job.needs {
            chain[need] = chain[need].max(jobs[need].hours + chain[at]);
        }
    }
    let mut ended: Vec<Option<f64>> = vec![None; jobs.len()];
    let mut free = vec![0.0_f64; workers.max(1)];
    for _ in jobs {
        // The worker that is free first takes a job at the first moment when one is ready.
        let Some(worker) = (0..free.len()).min_by(|&a, &b| free[a].total_cmp(&free[b])) else {
            break;
        };
        let ready = |at: usize| {
            let needs = jobs[at].needs.iter();
            let done: Option<Vec<f64>> = needs.map(|&need| ended[need]).collect();
            done.map(|done| done.into_iter().fold(free[worker], f64::max))
        };
        let waiting = (0..jobs.len()).filter(|&at| ended[at].is_none());
        let next = waiting
            .filter_map(|at| Some((ready(at)?, at)))
            .min_by(|a, b| a.0.total_cmp(&b.0).then(chain[b.1].total_cmp(&chain[a.1])));
        let Some((start, at)) = next else { break };
        free[worker] = start + jobs[at].hours;
        ended[at] = Some(free[worker]);
    }
    ended.into_iter().flatten().fold(0.0, f64::max)
}

/// What a table of the paper trains: on so many image sets, with which network, which models beside two teachers.
struct Paper {
    table: &'static str,
    parts: &'static [Part],
}

struct Part {
    network: &'static str,
    sets: usize,
    models: &'static [Model],
}

#[derive(Clone, Copy, PartialEq)]
enum Model {
    Undefended,
    /// Two, each of a half.
    Teachers,
    /// Of the two teachers.
    Student,
    /// Ordinary distillation: of the undefended model.
    Distilled,
}

use Model::{Distilled, Student, Teachers, Undefended};

const THREE: &[Model] = &[Undefended, Teachers, Student];
const FOUR: &[Model] = &[Undefended, Teachers, Student, Distilled];

/// From the paper's text; where it does not say which model is meant, the table of the same models stands for it.
const TABLES: [Paper; 9] = [
    Paper {
        table: "1 (SD 1.5, one set)",
        parts: &[part("sd", 1, THREE)],
    },
    Paper {
        table: "2 (CIFAR-10; SD 1.5 on two sets)",
        parts: &[part("ddpm", 1, THREE), part("sd", 2, THREE)],
    },
    Paper {
        table: "3 (four sets at 32 px)",
        parts: &[part("ddpm", 4, THREE)],
    },
    Paper {
        table: "4 (SD 1.5 and 2.1 on two sets)",
        parts: &[part("sd", 4, THREE)],
    },
    Paper {
        table: "5 (SD 1.5, with and without more prompts)",
        parts: &[part("sd", 2, THREE)],
    },
    Paper {
        table: "7 (SD 2.1 on two sets)",
        parts: &[part("sd", 2, THREE)],
    },
    Paper {
        table: "8 (SD 1.5, with and without more prompts)",
        parts: &[part("sd", 2, THREE)],
    },
    Paper {
        table: "9 (the pair of table 5)",
        parts: &[part("sd", 1, &[Teachers])],
    },
    Paper {
        table: "10 (CIFAR-10, with ordinary distillation)",
        parts: &[part("ddpm", 1, FOUR)],
    },
];

const fn part(network: &'static str, sets: usize, models: &'static [Model]) -> Part {
    Part {
        network,
        sets,
        models,
    }
}

/// Table 10 with three seeds: as if these were sets.
const SEEDS: Paper = Paper {
    table: "10, three seeds",
    parts: &[part("ddpm", 3, FOUR)],
};

impl Part {
    /// Its jobs, each by `ranks`: trainings, and the images of each model that is judged.
    fn jobs(&self, inputs: &Inputs, ranks: usize, links: &Links) -> Result<Vec<Job>> {
        let recipe = Recipe::read(inputs, self.network)?;
        let drawn = recipe.drawing() / ranks as f64;
        let mut jobs = Vec::new();
        for _ in 0..self.sets {
            let mut train = |taught: bool, needs: Vec<usize>| {
                let hours = recipe.training(ranks, taught, links);
                jobs.push(Job { hours, needs });
                jobs.len() - 1
            };
            let undefended = if self.models.contains(&Undefended) {
                vec![train(false, Vec::new())]
            } else {
                Vec::new()
            };
            let teachers: Vec<usize> = if self.models.contains(&Teachers) {
                vec![train(false, Vec::new()), train(false, Vec::new())]
            } else {
                Vec::new()
            };
            let mut judged = vec![undefended.clone(), teachers.clone()];
            if self.models.contains(&Student) {
                judged.push(vec![train(true, teachers)]);
            }
            if self.models.contains(&Distilled) {
                judged.push(vec![train(true, undefended)]);
            }
            for needs in judged.into_iter().filter(|needs| !needs.is_empty()) {
                jobs.push(Job {
                    hours: drawn,
                    needs,
                });
            }
        }
        Ok(jobs)
    }
}

impl Paper {
    /// Hours on `gpus`, each job by `ranks`.
    fn hours(&self, inputs: &Inputs, gpus: usize, ranks: usize, links: &Links) -> Result<f64> {
        let mut jobs: Vec<Job> = Vec::new();
        for part in self.parts {
            let shift = jobs.len();
            let mut own = part.jobs(inputs, ranks, links)?;
            let needs = own.iter_mut().flat_map(|job| &mut job.needs);
            needs.for_each(|need| *need += shift);
            jobs.extend(own);
        }
        Ok(queue(&jobs, gpus / ranks))
    }

    /// The number of ranks of a job, up to a machine's, with which all is done first on `gpus`, and the hours.
    fn best(&self, inputs: &Inputs, gpus: usize, links: &Links) -> Result<(usize, f64)> {
        let mut best = (1, self.hours(inputs, gpus, 1, links)?);
        for ranks in [2, 4, 8] {
            if ranks <= gpus.min(links.machine) {
                let hours = self.hours(inputs, gpus, ranks, links)?;
                if hours < best.1 {
                    best = (ranks, hours);
                }
            }
        }
        Ok(best)
    }
}

/// Two digits that count, at least.
fn number(value: f64) -> String {
    match value {
        v if v >= 99.5 => format!("{v:.0}"),
        v if v >= 9.95 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// One training of the CIFAR-10 recipe, by more and more ranks.
fn ranks(inputs: &Inputs) -> Result<String> {
    let recipe = Recipe::read(inputs, "ddpm")?;
    let mut out = String::from(
        "| GPUs | images a rank | 200 Gbit/s: ms a step, communication, hours | 25 Gbit/s | 1 Gbit/s |\n|---|---|---|---|---|\n",
    );
    for gpus in GPUS {
        if gpus as f64 > recipe.batch {
            out += &format!("| {gpus} | - | no image for each rank | | |\n");
            continue;
        }
        let rows = (recipe.batch / gpus as f64).ceil();
        out += &format!("| {gpus} | {rows} |");
        for between in ["infiniband", "ethernet_25", "ethernet_1"] {
            let links = Links::read(inputs, between)?;
            let (step, sum) = recipe.step(gpus, false, &links);
            let hours = recipe.training(gpus, false, &links);
            out += &format!(
                " {}, {:.0} %, {} |",
                number(step * 1e3),
                sum / step * 100.0,
                number(hours)
            );
        }
        out.push('\n');
    }
    Ok(out)
}

/// Two teachers and a student on 1 to 8 GPUs: one after another by ranks, and as jobs.
fn teachers(inputs: &Inputs) -> Result<String> {
    let recipe = Recipe::read(inputs, "ddpm")?;
    let links = Links::read(inputs, "infiniband")?;
    let mut out = String::from(
        "| GPUs | both teachers one after the other, all GPUs as ranks | side by side, half of the GPUs each | gain |\n|---|---|---|---|\n",
    );
    for gpus in [2, 4, 8] {
        let after = 2.0 * recipe.training(gpus, false, &links);
        let beside = recipe.training(gpus / 2, false, &links);
        out += &format!(
            "| {gpus} | {} h | {} h | {:.2} |\n",
            number(after),
            number(beside),
            after / beside
        );
    }
    Ok(out)
}

/// Table 10's jobs with three seeds, by a queue of one GPU a job, and by one with ranks.
fn jobs(inputs: &Inputs) -> Result<String> {
    let links = Links::read(inputs, "infiniband")?;
    let one = SEEDS.hours(inputs, 1, 1, &links)?;
    let mut out = String::from(
        "| GPUs | a GPU for each job: hours, speed-up | ranks for each job | with them: hours, speed-up |\n|---|---|---|---|\n",
    );
    for gpus in GPUS {
        let alone = SEEDS.hours(inputs, gpus, 1, &links)?;
        let (ranks, best) = SEEDS.best(inputs, gpus, &links)?;
        out += &format!(
            "| {gpus} | {}, {:.1} | {ranks} | {}, {:.1} |\n",
            number(alone),
            one / alone,
            number(best),
            one / best
        );
    }
    Ok(out)
}

/// Every table of the paper, one seed, on 1, 8 and 64 GPUs.
fn tables(inputs: &Inputs) -> Result<String> {
    let links = Links::read(inputs, "infiniband")?;
    let mut out = String::from(
        "| table | 1 GPU | 8 GPUs | ranks | 64 GPUs | ranks |\n|---|---|---|---|---|---|\n",
    );
    for paper in &TABLES {
        out += &format!("| {} |", paper.table);
        for gpus in [1, 8, 64] {
            let (ranks, hours) = paper.best(inputs, gpus, &links)?;
            out += &format!(" {} |", number(hours));
            if gpus > 1 {
                out += &format!(" {ranks} |");
            }
        }
        out.push('\n');
    }
    Ok(out)
}

/// Two processes of one machine, from what was measured alone.
fn cores(inputs: &Inputs) -> Result<String> {
    let (step, sum) = (inputs.get("tiny_step")?, inputs.get("tiny_sum")?);
    let two = step / 2.0 + sum;
    Ok(format!(
        "| one process, ms a step | two ranks, predicted | of that communication | speed-up |\n|---|---|---|---|\n| {} | {} | {:.0} % | {:.2} |\n",
        number(step),
        number(two),
        sum / two * 100.0,
        step / two
    ))
}

/// The tables by the names that the page gives them.
fn all(inputs: &Inputs) -> Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("ranks", ranks(inputs)?),
        ("teachers", teachers(inputs)?),
        ("jobs", jobs(inputs)?),
        ("tables", tables(inputs)?),
        ("cores", cores(inputs)?),
        ("inputs", inputs.table()),
    ])
}

/// The page with its tables as they follow from the inputs.
fn filled(page: &str, tables: &[(&str, String)]) -> Result<String> {
    let mut out = page.to_owned();
    for (name, table) in tables {
        let begin = format!("{BEGIN}{name} -->\n");
        let found = out.find(&begin).map(|at| at + begin.len());
        let found = found.and_then(|from| Some((from, from + out[from..].find(END)?)));
        let (from, to) = found.with_context(|| {
            format!("{PAGE} has no place for the table {name}: `{BEGIN}{name} -->` and `{END}`")
        })?;
        out.replace_range(from..to, &format!("\n{table}\n"));
    }
    Ok(out)
}

/// Prints the tables, or with `--write` puts them into the page.
pub fn run(root: &Path, args: &[String]) -> Result<()> {
    let read = |name: &str| std::fs::read_to_string(root.join(name)).context(name.to_owned());
    let inputs = Inputs::parse(&read(INPUTS)?)?;
    let tables = all(&inputs)?;
    match args {
        [] => {
            for (name, table) in tables {
                println!("{name}\n\n{table}");
            }
        }
        [flag] if flag == "--write" => {
            std::fs::write(root.join(PAGE), filled(&read(PAGE)?, &tables)?).context(PAGE)?;
        }
        _ => bail!(crate::Usage("scaling takes --write or nothing".into())),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        std::fs::read_to_string(root.join(name)).unwrap()
    }

    #[test]
    fn the_page_has_the_tables_that_follow_from_the_inputs() {
        let tables = all(&Inputs::parse(&read(INPUTS)).unwrap()).unwrap();
        let page = read(PAGE);
        assert!(
            filled(&page, &tables).unwrap() == page,
            "{PAGE} is not what {INPUTS} comes to: `cargo xtask scaling --write`"
        );
        assert_eq!(page.matches(BEGIN).count(), tables.len());
    }

    #[test]
    fn an_edited_table_is_noticed() {
        let page = format!("{BEGIN}x -->\n\n| 1 |\n\n{END}");
        let same = filled(&page, &[("x", "| 1 |\n".into())]).unwrap();
        let other = filled(&page, &[("x", "| 2 |\n".into())]).unwrap();
        assert_eq!(filled(&same, &[("x", "| 1 |\n".into())]).unwrap(), same);
        assert!(other != same && other.contains("| 2 |"));
        assert!(filled(&page, &[("y", String::new())]).is_err());
    }

    /// Links on which nothing is for free and the sums are easy.
    fn links() -> Links {
        Links {
            machine: 2,
            inside: 100.0,
            between: 10.0,
            latency: 0.0,
        }
    }

    #[test]
    fn a_ring_sends_what_it_must() {
        let sum = |ranks| links().sum(1000.0, ranks);
        assert_eq!(sum(1), 0.0);
        // 2 (2 - 1) / 2 of 1,000 bytes at 100 a second.
        assert!((sum(2) - 10.0).abs() < 1e-9);
        // The same in both machines, and between them at 10 a second.
        assert!((sum(4) - 110.0).abs() < 1e-9);
        let slow = Links {
            latency: 1.0,
            ..links()
        };
        assert!((slow.sum(1000.0, 4) - 114.0).abs() < 1e-9);
    }

    #[test]
    fn a_queue_does_the_longest_chain_first_and_waits_for_what_is_needed() {
        let job = |hours: f64, needs: &[usize]| Job {
            hours,
            needs: needs.to_vec(),
        };
        // Two teachers, a student, and a model that nobody waits for.
        let jobs = [
            job(3.0, &[]),
            job(2.0, &[]),
            job(2.0, &[]),
            job(4.0, &[1, 2]),
        ];
        assert_eq!(queue(&jobs, 1), 11.0);
        // Both teachers, then student and the other model: not the longer one first.
        assert_eq!(queue(&jobs, 2), 6.0);
        assert_eq!(queue(&jobs, 100), 6.0);
        assert_eq!(queue(&[], 3), 0.0);
        let chain = [job(1.0, &[]), job(1.0, &[0]), job(1.0, &[1])];
        assert_eq!(queue(&chain, 5), 3.0);
    }

    #[test]
    fn inputs_that_are_none_are_refused() {
        let of = |text: &str| Inputs::parse(text).map(|_| ()).unwrap_err().to_string();
        let good = r#"{"name": "a", "value": 1, "unit": "u", "kind": "measured", "source": "s"}"#;
        assert!(Inputs::parse(&format!("[{good}]")).is_ok());
        assert!(of(&format!("[{good}, {good}]")).contains("a is there twice"));
        let bad = good.replace("measured", "guessed");
        assert!(of(&format!("[{bad}]")).contains("not guessed"));
        assert!(of(&format!("[{}]", good.replace("1", "-1"))).contains("no number above 0"));
        assert!(of(&format!("[{}]", good.replace("unit", "unix"))).contains("without `unit`"));
        let missing = Inputs::parse("[]").unwrap().get("b").unwrap_err();
        assert!(missing.to_string().contains("no `b`"));
    }

    #[test]
    fn every_input_is_used() {
        let text = read(INPUTS);
        let inputs: Vec<Value> = serde_json::from_str(&text).unwrap();
        for left_out in &inputs {
            let rest: Vec<&Value> = inputs.iter().filter(|i| *i != left_out).collect();
            let rest = Inputs::parse(&serde_json::to_string(&rest).unwrap()).unwrap();
            let error = all(&rest).map(|_| left_out).unwrap_err().to_string();
            assert!(
                error.contains(left_out["name"].as_str().unwrap()),
                "{error}"
            );
        }
    }

    #[test]
    fn more_ranks_compute_less_until_a_step_is_as_short_as_it_gets() {
        let recipe = Recipe {
            forward: 1.0,
            gradient: 1000.0,
            batch: 8.0,
            steps: 3600.0,
            speed: 1.0,
            least: 5.0,
            drawing: 7200.0,
        };
        assert_eq!(recipe.computing(1, false), 24.0);
        assert_eq!(recipe.computing(1, true), 32.0);
        assert_eq!(recipe.computing(3, false), 9.0);
        assert_eq!(recipe.computing(8, false), 5.0);
        let (step, sum) = recipe.step(2, false, &links());
        assert!((step - 22.0).abs() < 1e-9 && (sum - 10.0).abs() < 1e-9);
        assert!((recipe.training(2, false, &links()) - 22.0).abs() < 1e-9);
        assert!((recipe.drawing() - 2.0).abs() < 1e-9);
    }
}
