//! About how long a whole run or audit still takes, told with every event of its progress.
//!
//! What it has to do is counted beforehand, in network calls of one image ([`estimate`]). How many of these the machine makes in a
//! second is measured while it works: of trainings, of drawing and of attacks apart, and where one of these was not measured yet, by the
//! one that was measured longest. Nothing is told before [`MEASURED`] of work were measured. Image quality, controls and the report are
//! not counted.

use crate::choices::Stage;
use crate::estimate;
use crate::plan::Plan;
use crate::reporter::{ProgressEvent, Reporter, Work};
use crate::stages::prepare::Images;
use crate::stages::{RunFolder, shadow};
use anyhow::Result;
use dualmd_record::scores::Scores;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Work that is measured before anything is told of the rest: the first steps are no measure of the others.
pub const MEASURED: Duration = Duration::from_secs(10);

/// Parts of a run, in their order. Of each, models are worked on whose names are their own in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The run's own trainings.
    Train,
    /// Those of its shadow.
    TrainShadow,
    /// Images of the run's own models.
    Sample,
    /// Images of the shadow's.
    SampleShadow,
    /// Attacks.
    Attack,
}

impl Part {
    /// The stage that it belongs to.
    fn stage(self) -> Stage {
        match self {
            Self::Train | Self::TrainShadow => Stage::Train,
            Self::Sample | Self::SampleShadow => Stage::Sample,
            Self::Attack => Stage::Attack,
        }
    }

    /// What its progress is told as.
    fn work(self) -> Work {
        match self {
            Self::Train | Self::TrainShadow => Work::Train,
            Self::Sample | Self::SampleShadow => Work::Generate,
            Self::Attack => Work::Attack,
        }
    }

    /// Where that is measured.
    fn place(self) -> usize {
        match self.stage() {
            Stage::Train => 0,
            Stage::Sample => 1,
            _ => 2,
        }
    }
}

/// What is done with one model in one part.
#[derive(Debug, Clone)]
struct Item {
    part: Part,
    model: String,
    /// Network calls in all.
    calls: f64,
    /// The share of them that is made.
    done: f64,
    /// What was heard of it last: that share, and when.
    heard: Option<(f64, Instant)>,
}

impl Item {
    fn new(part: Part, model: &str, calls: f64) -> Self {
        Self {
            part,
            model: model.to_owned(),
            calls,
            done: 0.0,
            heard: None,
        }
    }

    fn left(&self) -> f64 {
        self.calls * (1.0 - self.done)
    }
}

/// Calls that were made, and the time that they took in one training or one stage.
#[derive(Debug, Clone, Copy, Default)]
struct Measured {
    calls: f64,
    seconds: f64,
}

/// What is to be done, and what was measured of it.
#[derive(Debug)]
struct Ledger {
    now: Part,
    items: Vec<Item>,
    /// Trainings side by side.
    parallel: usize,
    /// Calls of the runs that follow this one: of trainings, of drawing, of attacks.
    after: [f64; 3],
    /// The same three.
    measured: [Measured; 3],
}

impl Ledger {
    fn new(items: Vec<Item>, parallel: usize, after: [f64; 3]) -> Self {
        Self {
            now: Part::Train,
            items,
            parallel: parallel.max(1),
            after,
            measured: [Measured::default(); 3],
        }
    }

    /// Begins a part; those before it are done.
    fn enter(&mut self, part: Part) {
        self.now = part;
        self.items.retain(|item| item.part >= part);
    }

    /// One model is done with the part.
    fn finished(&mut self, model: &str) {
        let now = self.now;
        let mut items = self.items.iter_mut();
        if let Some(item) = items.find(|i| i.part == now && i.model == model) {
            item.done = 1.0;
        }
    }

    /// Takes note of an event; gives what is left then.
    fn hear(&mut self, event: &ProgressEvent, at: Instant) -> Option<Duration> {
        let now = self.now;
        let mut items = self.items.iter_mut();
        // What is done beside, such as attacks on the model's own images, was not counted.
        let item = items.find(|i| i.part == now && i.model == event.model && event.task.is_none());
        if let Some(item) = item.filter(|_| event.stage == now.work() && event.total > 0) {
            let done = (event.step as f64 / event.total as f64).min(1.0);
            if let Some((before, then)) = item.heard.filter(|(before, _)| *before <= done)
                && let Some(measured) = self.measured.get_mut(now.place())
            {
                measured.calls += (done - before) * item.calls;
                measured.seconds += (at - then).as_secs_f64();
            }
            item.done = done;
            item.heard = Some((done, at));
        }
        self.left()
    }

    /// What is left, once enough was measured.
    fn left(&self) -> Option<Duration> {
        let longest = self
            .measured
            .iter()
            .enumerate()
            .filter(|(_, m)| m.calls > 0.0)
            .max_by(|(_, a), (_, b)| a.seconds.total_cmp(&b.seconds));
        let (place, measured) = longest?;
        if measured.seconds < MEASURED.as_secs_f64() {
            return None;
        }
        // Calls in a second of the whole machine.
        let machine = match place {
            0 => measured.calls / measured.seconds * self.parallel as f64,
            _ => measured.calls / measured.seconds,
        };
        let mut seconds = 0.0;
        for part in [
            Part::Train,
            Part::TrainShadow,
            Part::Sample,
            Part::SampleShadow,
            Part::Attack,
        ] {
            seconds += self.of_part(part, machine);
        }
        for (place, calls) in self.after.into_iter().enumerate() {
            let side_by_side = if place == 0 { self.parallel } else { 1 };
            seconds += calls / self.rate(place, machine, side_by_side);
        }
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// Seconds that a part still takes.
    fn of_part(&self, part: Part, machine: f64) -> f64 {
        let left = self.items.iter().filter(|item| item.part == part);
        let left: Vec<f64> = left.map(Item::left).filter(|calls| *calls > 0.0).collect();
        let all: f64 = left.iter().sum();
        if part.work() != Work::Train {
            return all / self.rate(part.place(), machine, 1);
        }
        // Side by side as long as there are enough of them; the longest one has to be gone through in any case.
        let one = self.rate(0, machine, self.parallel) / self.parallel as f64;
        let side_by_side = self.parallel.min(left.len()).max(1) as f64;
        let longest = left.iter().copied().fold(0.0, f64::max);
        (all / side_by_side).max(longest) / one
    }

    /// Calls in a second of one kind of work, of so many trainings or stages side by side; of the whole `machine` where that kind
    /// was not measured for long enough.
    fn rate(&self, place: usize, machine: f64, side_by_side: usize) -> f64 {
        match self.measured.get(place) {
            Some(m) if m.calls > 0.0 && m.seconds >= MEASURED.as_secs_f64() => {
                m.calls / m.seconds * side_by_side as f64
            }
            _ => machine,
        }
    }
}

/// Hears the progress of a run or an audit and hands it on, with how long the whole still takes.
pub struct Whole {
    inner: Arc<dyn Reporter>,
    ledger: Mutex<Ledger>,
}

impl Whole {
    /// Counts what a run still has to do until a stage, and the `after` runs of the same experiment that follow it; `inner` hears it all.
    ///
    /// # Errors
    /// Scores of an earlier call that a newer version of this program wrote.
    pub fn of(
        run: &RunFolder,
        plan: &Plan,
        images: &Images,
        until: Stage,
        after: u64,
        inner: Arc<dyn Reporter>,
    ) -> Result<Self> {
        let captions = captions(plan, images);
        let mut items = Vec::new();
        let mut again = [0.0; 3];
        let mut add = |part: Part, model: &str, calls: f64, there: f64| {
            if part.stage() > until {
                return;
            }
            if let Some(sum) = again.get_mut(part.place()) {
                *sum += calls * after as f64;
            }
            items.push(Item::new(part, model, calls - there));
        };
        let shadowed = shadow::asked(plan);
        let of_shadow = shadow::folder(run);
        for job in &plan.trainings {
            let calls = estimate::training(plan, job).calls();
            let mut trained = |part, run: &RunFolder| {
                let there = run.training(&job.name).exists();
                add(part, &job.name, calls, if there { calls } else { 0.0 });
            };
            trained(Part::Train, run);
            if shadowed {
                trained(Part::TrainShadow, &of_shadow);
            }
        }
        let shadow_draws = plan.models.iter().any(|t| shadow::draws(&t.attacks));
        for target in &plan.models {
            let calls = estimate::drawing(plan, target, captions).calls();
            let mut drawn = |part, run: &RunFolder| {
                let there = run.nearest(&target.name).exists();
                add(part, &target.name, calls, if there { calls } else { 0.0 });
            };
            drawn(Part::Sample, run);
            if shadowed && shadow_draws {
                drawn(Part::SampleShadow, &of_shadow);
            }
            let scores: Option<Scores> =
                dualmd_record::read_if_usable(&run.scores(&target.name, "json"))?;
            let (mut all, mut there) = (0.0, 0.0);
            for attack in &target.attacks {
                let calls = estimate::attacking(plan, target, attack, captions).calls();
                let name = attack.to_string();
                let scored = scores.iter().flat_map(|s| &s.attacks);
                let mut same = scored.filter(|a| a.attack == name && !a.failed());
                all += calls;
                there += same.next().map_or(0.0, |_| calls);
            }
            add(Part::Attack, &target.name, all, there);
        }
        let ledger = Ledger::new(items, plan.hardware.parallel_models, again);
        Ok(Self {
            inner,
            ledger: Mutex::new(ledger),
        })
    }

    /// Of one model of an audit: network calls of the images that it draws and of the attacks on it, and `after` models of the same kind
    /// that follow it. What an earlier call left counts as work, too: it is gone through in a moment.
    pub fn of_audit(
        model: &str,
        [drawing, attacking]: [f64; 2],
        after: usize,
        inner: Arc<dyn Reporter>,
    ) -> Self {
        let items = vec![
            Item::new(Part::Sample, model, drawing),
            Item::new(Part::Attack, model, attacking),
        ];
        let after = [0.0, drawing, attacking].map(|calls| calls * after as f64);
        Self {
            inner,
            ledger: Mutex::new(Ledger::new(items, 1, after)),
        }
    }

    /// Begins a part of the run; those before it are done.
    pub fn enter(&self, part: Part) {
        self.with(|ledger| ledger.enter(part));
    }

    fn with<T>(&self, go: impl FnOnce(&mut Ledger) -> T) -> T {
        // An estimate that another thread did not finish is still one.
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        go(&mut ledger)
    }
}

impl Reporter for Whole {
    fn progress(&self, event: &ProgressEvent) {
        let left = self.with(|ledger| ledger.hear(event, Instant::now()));
        self.inner.progress(&ProgressEvent {
            run_seconds_left: left.map(|left| left.as_secs()).filter(|s| *s > 0),
            ..event.clone()
        });
    }

    fn finished(&self, model: &str, note: &str) {
        self.with(|ledger| ledger.finished(model));
        self.inner.finished(model, note);
    }

    fn done(&self, task: &str, note: &str) {
        self.inner.done(task, note);
    }

    fn say(&self, text: &str) {
        self.inner.say(text);
    }

    fn warn(&self, text: &str) {
        self.inner.warn(text);
    }

    fn concluded(&self, model: &str, finding: &str) {
        self.inner.concluded(model, finding);
    }

    fn detail(&self, text: &str) {
        self.inner.detail(text);
    }
}

/// Captions of an image of the run, in the mean.
pub(crate) fn captions(plan: &Plan, images: &Images) -> f64 {
    let s = &images.selected;
    let all = s.members.iter().chain(&s.nonmembers);
    let records = all.filter_map(|&i| images.set().records.get(i));
    let (mut n, mut captions) = (0_u32, 0_usize);
    for record in records.filter(|_| plan.model.text) {
        n += 1;
        captions += record.captions.len();
    }
    match n {
        0 => 1.0,
        n => captions as f64 / f64::from(n),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that is set by hand, and a ledger.
    struct Told {
        ledger: Ledger,
        began: Instant,
    }

    impl Told {
        fn new(parallel: usize, after: [f64; 3], items: &[(Part, &str, f64)]) -> Self {
            let items = items
                .iter()
                .map(|(part, model, calls)| Item::new(*part, model, *calls));
            Self {
                ledger: Ledger::new(items.collect(), parallel, after),
                began: Instant::now(),
            }
        }

        /// Seconds that are left after an event at a time.
        fn at(&mut self, seconds: u64, work: Work, model: &str, step: u64) -> Option<f64> {
            let event = ProgressEvent {
                model: model.to_owned(),
                stage: work,
                task: None,
                step,
                total: 100,
                epoch: None,
                loss: None,
                images_per_second: 1.0,
                run_seconds_left: None,
            };
            let at = self.began + Duration::from_secs(seconds);
            self.ledger.hear(&event, at).map(|left| left.as_secs_f64())
        }
    }

    fn is_near(found: Option<f64>, expected: f64) {
        let near = found.is_some_and(|found| (found - expected).abs() < 1e-6 * expected.max(1.0));
        assert!(near, "{found:?} is not {expected}");
    }

    const RUN: [(Part, &str, f64); 5] = [
        (Part::Train, "a", 300.0),
        (Part::Train, "b", 300.0),
        (Part::Sample, "a", 100.0),
        (Part::Attack, "a", 150.0),
        (Part::Attack, "b", 50.0),
    ];

    #[test]
    fn nothing_is_told_before_it_is_measured_and_then_all_that_is_left() {
        let mut run = Told::new(1, [0.0; 3], &RUN);
        assert_eq!(run.at(0, Work::Train, "a", 0), None);
        assert_eq!(run.at(9, Work::Train, "a", 18), None);
        // 60 of 900 calls in 10 s.
        is_near(run.at(10, Work::Train, "a", 20), 840.0 / 6.0);
        run.at(50, Work::Train, "a", 100);
        run.at(60, Work::Train, "b", 0);
        // 600 calls in 90 s.
        is_near(run.at(100, Work::Train, "b", 100), 300.0 * 90.0 / 600.0);
        run.ledger.enter(Part::Sample);
        run.at(100, Work::Generate, "a", 0);
        // 50 calls in 20 s are the measure of the other 50; of attacks the trainings are, which were measured longer.
        let attacks = 200.0 * 90.0 / 600.0;
        is_near(run.at(120, Work::Generate, "a", 50), 20.0 + attacks);
        run.ledger.enter(Part::Attack);
        run.at(140, Work::Attack, "a", 0);
        // Measuring of images is no part of it.
        is_near(run.at(145, Work::Measure, "a", 50), attacks);
        run.at(290, Work::Attack, "a", 100);
        is_near(run.at(290, Work::Attack, "b", 0), 50.0);
        run.ledger.finished("b");
        is_near(run.at(291, Work::Attack, "a", 100), 0.0);
    }

    #[test]
    fn an_audit_counts_the_models_that_follow() {
        #[derive(Default)]
        struct Heard(Mutex<Vec<Option<u64>>>);
        impl Reporter for Heard {
            fn progress(&self, event: &ProgressEvent) {
                self.0.lock().unwrap().push(event.run_seconds_left);
            }
            fn finished(&self, _: &str, _: &str) {}
            fn say(&self, _: &str) {}
            fn warn(&self, _: &str) {}
        }
        let heard = Arc::new(Heard::default());
        let whole = Whole::of_audit("m", [100.0, 300.0], 2, heard.clone());
        whole.enter(Part::Sample);
        let event = |stage, model: &str, step| ProgressEvent {
            stage,
            ..ProgressEvent::images(model, step, 100, Instant::now())
        };
        // On the real clock nothing was measured for long enough, and all is handed on.
        whole.progress(&event(Work::Generate, "m", 0));
        whole.progress(&event(Work::Generate, "m", 50));
        assert_eq!(*heard.0.lock().unwrap(), [None::<u64>; 2]);
        // Ten seconds later: 50 calls were made, and 50 + 300 + 2 * 400 are left.
        let later = Instant::now() + Duration::from_secs(10);
        let left = whole.with(|ledger| {
            ledger.measured = [Measured::default(); 3];
            ledger.items[0].heard = Some((0.0, later - Duration::from_secs(10)));
            // What was not counted changes nothing.
            let beside = event(Work::Generate, "m", 90).doing("beside");
            ledger.hear(&beside, later);
            ledger.hear(&event(Work::Generate, "m", 50), later)
        });
        is_near(left.map(|left| left.as_secs_f64()), 1150.0 / 5.0);
    }

    #[test]
    fn trainings_side_by_side_are_as_long_as_the_longest() {
        let items = [
            (Part::Train, "a", 100.0),
            (Part::Train, "b", 100.0),
            (Part::Train, "c", 400.0),
        ];
        let mut run = Told::new(2, [0.0; 3], &items);
        run.at(0, Work::Train, "a", 0);
        run.at(0, Work::Train, "b", 0);
        run.at(10, Work::Train, "a", 10);
        // Each makes a call in a second: 90, 90 and 400 are left, the last by itself.
        is_near(run.at(10, Work::Train, "b", 10), 400.0);
        // Where all are of a size, two at a time.
        let mut run = Told::new(2, [0.0; 3], &items[..2]);
        run.at(0, Work::Train, "a", 0);
        is_near(run.at(10, Work::Train, "a", 10), 100.0);
    }

    #[test]
    fn a_training_that_goes_on_is_measured_from_where_it_began_and_later_runs_count() {
        let mut run = Told::new(2, [400.0, 100.0, 100.0], &[(Part::Train, "a", 200.0)]);
        run.at(0, Work::Train, "a", 50);
        // 20 calls in 10 s of one, twice as many of two; of the other kinds of work, what the machine makes.
        let later = 400.0 / 4.0 + 200.0 / 4.0;
        is_near(run.at(10, Work::Train, "a", 60), 80.0 / 2.0 + later);
        // A model that nobody counted changes nothing, and neither does one that begins anew.
        is_near(run.at(20, Work::Train, "x", 60), 80.0 / 2.0 + later);
        is_near(run.at(30, Work::Train, "a", 0), 200.0 / 2.0 + later);
    }
}
