//! About how long a whole run, audit or repetition still takes, told with every event of its progress.
//!
//! What it has to do is counted beforehand, part by part: trainings, drawing and attacks in network calls of one image ([`estimate`]), image
//! quality in images, controls and report in models. How much of a kind of work is done in a second is learnt while it is done, of every
//! kind by itself, and holds for the models, runs and seeds that follow. Of a kind that was not seen yet nothing is guessed: its name is told
//! beside the rest, which is then the least that is left. Nothing is told before [`MEASURED`] of a kind were measured, or one model was
//! gone through.

use crate::choices::{Copies, Features, Stage};
use crate::estimate;
use crate::plan::{JobKind, Plan};
use crate::reporter::{ProgressEvent, Reporter, Work};
use crate::stages::prepare::Images;
use crate::stages::{RunFolder, shadow};
use anyhow::Result;
use dualmd_names::{AttackSpec, BlackBox};
use dualmd_record::scores::Scores;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Work of one kind that is measured before anything is told of the rest of it: the first steps are no measure of the others.
pub const MEASURED: Duration = Duration::from_secs(10);

/// Parts of the work, in their order. Of each, models are worked on whose names are their own in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The run's own trainings.
    Train,
    /// Those of its shadow.
    TrainShadow,
    /// What a model is told is searched for.
    Search,
    /// Prompts are measured one by one.
    Prompts,
    /// Images of the run's own models.
    Sample,
    /// What these are worth, and how many are copies.
    Quality,
    /// Images of the shadow's.
    SampleShadow,
    /// Attacks.
    Attack,
    /// The blind baseline and the tests of whole sets.
    Controls,
    /// Losses of all models of a repetition on all images.
    Statistic,
    /// Generated images are compared.
    Judge,
    /// The report.
    Report,
}

/// Kinds of work whose pace is learnt by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Train,
    /// Trainings with DP-SGD, of which only the most that they can take is counted: they are no measure of others.
    Private,
    Search,
    Prompts,
    Draw,
    Quality,
    Attack,
    Controls,
    Statistic,
    Judge,
    Report,
}

/// How many there are.
const KINDS: usize = 11;

impl Kind {
    const ALL: [Self; KINDS] = [
        Self::Train,
        Self::Private,
        Self::Search,
        Self::Prompts,
        Self::Draw,
        Self::Quality,
        Self::Attack,
        Self::Controls,
        Self::Statistic,
        Self::Judge,
        Self::Report,
    ];

    /// As it is named where it is not counted yet.
    fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Private => "dp-sgd",
            Self::Search => "search",
            Self::Prompts => "prompts",
            Self::Draw => "sample",
            Self::Quality => "quality",
            Self::Attack => "attack",
            Self::Controls => "controls",
            Self::Statistic => "statistic",
            Self::Judge => "comparison",
            Self::Report => "report",
        }
    }

    /// What its progress is told as; none of work whose models are timed as wholes.
    fn told(self) -> Option<Work> {
        match self {
            Self::Train | Self::Private => Some(Work::Train),
            Self::Search | Self::Draw => Some(Work::Generate),
            Self::Prompts => Some(Work::Measure),
            Self::Attack | Self::Statistic => Some(Work::Attack),
            Self::Quality | Self::Controls | Self::Judge | Self::Report => None,
        }
    }
}

impl Part {
    /// The stage of a run that it belongs to.
    fn stage(self) -> Stage {
        match self {
            Self::Train | Self::TrainShadow => Stage::Train,
            Self::Search | Self::Prompts | Self::Sample | Self::Quality | Self::SampleShadow => {
                Stage::Sample
            }
            Self::Attack | Self::Controls | Self::Statistic => Stage::Attack,
            Self::Judge | Self::Report => Stage::Report,
        }
    }

    /// Is progress of this kind told in the part?
    fn counts(self, kind: Kind) -> bool {
        kind == self.kind() || (kind == Kind::Private && self.kind() == Kind::Train)
    }

    fn kind(self) -> Kind {
        match self {
            Self::Train | Self::TrainShadow => Kind::Train,
            Self::Search => Kind::Search,
            Self::Prompts => Kind::Prompts,
            Self::Sample | Self::SampleShadow => Kind::Draw,
            Self::Quality => Kind::Quality,
            Self::Attack => Kind::Attack,
            Self::Controls => Kind::Controls,
            Self::Statistic => Kind::Statistic,
            Self::Judge => Kind::Judge,
            Self::Report => Kind::Report,
        }
    }
}

/// What is done with one model in one part.
#[derive(Debug, Clone)]
struct Item {
    part: Part,
    kind: Kind,
    /// The title of its progress ([`ProgressEvent::title`]).
    title: String,
    /// How much there is to do, in the units of its kind.
    units: f64,
    /// The share of it that is done.
    done: f64,
    /// What was heard of it last: that share, and when.
    heard: Option<(f64, Instant)>,
    /// Its own pace.
    own: Measured,
}

impl Item {
    fn new(part: Part, title: &str, units: f64) -> Self {
        Self {
            part,
            kind: part.kind(),
            title: title.to_owned(),
            units,
            done: 0.0,
            heard: None,
            own: Measured::default(),
        }
    }

    /// Images that attacks draw for themselves: made at the pace of drawing, and done when the attacks are.
    fn drawn_for_attacks(model: &str, calls: f64) -> Self {
        Self {
            kind: Kind::Draw,
            ..Self::new(Part::Attack, model, calls)
        }
    }

    fn left(&self) -> f64 {
        self.units * (1.0 - self.done)
    }
}

/// What was done of one kind, and the time that it took in one training or one stage.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Measured {
    units: f64,
    seconds: f64,
    /// Was one of its models gone through?
    whole: bool,
}

impl Measured {
    fn add(&mut self, units: f64, seconds: f64) {
        self.units += units;
        self.seconds += seconds;
    }

    /// Units in a second, once enough was measured.
    fn rate(self) -> Option<f64> {
        let enough = self.whole || self.seconds >= MEASURED.as_secs_f64();
        (enough && self.units > 0.0 && self.seconds > 0.0).then(|| self.units / self.seconds)
    }
}

/// How fast work of every kind was: what a run hands on to the next one of the same experiment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Learnt([Measured; KINDS]);

impl Learnt {
    fn of(&self, kind: Kind) -> Measured {
        self.0.get(kind as usize).copied().unwrap_or_default()
    }

    fn add(&mut self, kind: Kind, units: f64, seconds: f64) {
        if let Some(measured) = self.0.get_mut(kind as usize) {
            measured.add(units, seconds);
        }
    }

    fn whole(&mut self, kind: Kind) {
        if let Some(measured) = self.0.get_mut(kind as usize) {
            measured.whole = true;
        }
    }

    fn forget(&mut self, kind: Kind) {
        if let Some(measured) = self.0.get_mut(kind as usize) {
            *measured = Measured::default();
        }
    }

    /// Takes note of a report on so many models.
    pub fn report(&mut self, models: usize, took: Duration) {
        self.add(Kind::Report, models as f64, took.as_secs_f64());
        self.whole(Kind::Report);
    }
}

/// What is left.
#[derive(Debug, Clone, PartialEq)]
struct Left {
    /// Of the kinds whose pace is known.
    seconds: f64,
    /// The others.
    without: Vec<&'static str>,
}

/// What is to be done, and what was measured of it.
#[derive(Debug)]
struct Ledger {
    now: Part,
    /// When the part that is worked on began, or one of its models was done last.
    since: Instant,
    items: Vec<Item>,
    /// Trainings side by side.
    parallel: usize,
    /// Units of every kind in the runs or models that follow.
    after: [f64; KINDS],
    learnt: Learnt,
    /// Of a repetition: what is done with each run that is attacked.
    repeated: Repetition,
}

impl Ledger {
    fn new(
        items: Vec<Item>,
        parallel: usize,
        after: [f64; KINDS],
        learnt: Learnt,
        at: Instant,
    ) -> Self {
        Self {
            now: Part::Train,
            since: at,
            items,
            parallel: parallel.max(1),
            after,
            learnt,
            repeated: Repetition::default(),
        }
    }

    /// So many runs or models follow, with each of which this is done.
    fn follow(&mut self, each: &[Item], after: usize) {
        self.after = [0.0; KINDS];
        for item in each {
            if let Some(sum) = self.after.get_mut(item.kind as usize) {
                *sum += item.units * after as f64;
            }
        }
    }

    /// Begins a part; those before it are done.
    fn enter(&mut self, part: Part, at: Instant) {
        let kind = self.now.kind();
        if kind.told().is_none() {
            // What was not told to be done was done all the same.
            let here = self.items.iter().filter(|item| item.part == self.now);
            let units: f64 = here.map(Item::left).sum();
            if units > 0.0 {
                self.learnt
                    .add(kind, units, (at - self.since).as_secs_f64());
                self.learnt.whole(kind);
            }
        }
        (self.now, self.since) = (part, at);
        self.items.retain(|item| item.part >= part);
    }

    /// One model is done with the part; of several reports the next one.
    fn finished(&mut self, title: &str, at: Instant) {
        let Self {
            now,
            since,
            items,
            learnt,
            ..
        } = self;
        let of_model = items
            .iter_mut()
            .filter(|i| i.part == *now && i.title == title && i.units > 0.0);
        let mut timed = false;
        for item in of_model {
            if item.kind.told().is_none() {
                if timed || item.done >= 1.0 {
                    continue;
                }
                learnt.add(item.kind, item.left(), (at - *since).as_secs_f64());
                (*since, timed) = (at, true);
            }
            if now.counts(item.kind) {
                learnt.whole(item.kind);
            }
            item.done = 1.0;
        }
    }

    /// Takes note of an event; gives what is left then.
    fn hear(&mut self, event: &ProgressEvent, at: Instant) -> Option<Left> {
        let title = event.title();
        // What is searched for is drawn with as soon as it is found.
        let drawn = |item: &Item| item.part == Part::Sample && item.title == title;
        if self.now == Part::Search && self.items.iter().any(drawn) {
            self.enter(Part::Sample, at);
        }
        let now = self.now;
        let told = now.kind().told() == Some(event.stage);
        let mut items = self.items.iter_mut().filter(|_| told && event.total > 0);
        // What is done beside, such as attacks on the model's own images, was not counted.
        let item = items.find(|i| i.part == now && now.counts(i.kind) && i.title == title);
        if let Some(item) = item {
            let done = (event.step as f64 / event.total as f64).min(1.0);
            if let Some((before, then)) = item.heard.filter(|(before, _)| *before <= done) {
                let (units, took) = ((done - before) * item.units, at - then);
                item.own.add(units, took.as_secs_f64());
                self.learnt.add(item.kind, units, took.as_secs_f64());
            }
            item.done = done;
            item.heard = Some((done, at));
        }
        self.left(at)
    }

    /// What is left, as far as the pace of any work that is left is known.
    fn left(&self, at: Instant) -> Option<Left> {
        let mut left = Left {
            seconds: 0.0,
            without: Vec::new(),
        };
        let mut known = self.trainings_left(&mut left);
        for kind in Kind::ALL {
            if kind.told() == Some(Work::Train) {
                continue;
            }
            let of_kind = self.items.iter().filter(|item| item.kind == kind);
            let units: f64 = of_kind.map(Item::left).sum();
            let later = self.later(kind);
            if units + later <= 0.0 {
                continue;
            }
            let Some(one) = self.learnt.of(kind).rate() else {
                left.without.push(kind.name());
                continue;
            };
            known = true;
            // Of what is timed as a whole some time has gone.
            let begun = units > 0.0 && kind.told().is_none() && self.now.kind() == kind;
            let gone = match begun {
                true => (at - self.since).as_secs_f64(),
                false => 0.0,
            };
            left.seconds += ((units + later) / one - gone).max(later / one);
        }
        known.then_some(left)
    }

    /// Units of a kind in the runs or models that follow.
    fn later(&self, kind: Kind) -> f64 {
        self.after.get(kind as usize).copied().unwrap_or_default()
    }

    /// Adds the trainings that are left, each by its own pace once that is known, else by that of its kind. Says whether any was known.
    fn trainings_left(&self, left: &mut Left) -> bool {
        let mut known = false;
        let pace = |item: &Item| {
            let own = item.own.rate();
            own.or_else(|| self.learnt.of(item.kind).rate())
        };
        for part in [Part::Train, Part::TrainShadow] {
            let of_part = self.items.iter().filter(|item| item.part == part);
            let seconds = |item: &Item| Some(item.left() / pace(item)?);
            let each: Vec<f64> = of_part.filter_map(seconds).filter(|s| *s > 0.0).collect();
            known |= !each.is_empty();
            left.seconds += self.side_by_side(&each);
        }
        for kind in [Kind::Train, Kind::Private] {
            let later = self.later(kind);
            let mut of_kind = self.items.iter().filter(|item| item.kind == kind);
            let open = of_kind.any(|item| item.left() > 0.0 && pace(item).is_none());
            match self.learnt.of(kind).rate() {
                Some(one) if later > 0.0 => {
                    known = true;
                    left.seconds += later / one / self.parallel as f64;
                }
                None if later > 0.0 || open => left.without.push(kind.name()),
                _ => {}
            }
        }
        known
    }

    /// Seconds by the clock of trainings that take so long: side by side as long as there are enough of them; the longest one in any case.
    fn side_by_side(&self, seconds: &[f64]) -> f64 {
        let all: f64 = seconds.iter().sum();
        let side_by_side = self.parallel.min(seconds.len()).max(1) as f64;
        let longest = seconds.iter().copied().fold(0.0, f64::max);
        (all / side_by_side).max(longest)
    }
}

/// Hears the progress of a run or an audit and hands it on, with how long the whole still takes.
pub struct Whole {
    inner: Arc<dyn Reporter>,
    ledger: Mutex<Ledger>,
}

/// Does an attack compare generated images, and not ask the network about the samples?
pub(crate) fn compares(attack: &AttackSpec) -> bool {
    BlackBox::of(attack).is_some() || attack.drawn().is_some()
}

impl Whole {
    /// Counts what a run still has to do until a stage, and the `after` runs of the same experiment that follow it; `inner` hears it all.
    /// `learnt`: by runs of it before this one.
    ///
    /// # Errors
    /// Scores of an earlier call that a newer version of this program wrote.
    pub fn of(
        run: &RunFolder,
        plan: &Plan,
        images: &Images,
        (until, after): (Stage, u64),
        learnt: Learnt,
        inner: Arc<dyn Reporter>,
    ) -> Result<Self> {
        let captions = captions(plan, images);
        let mut items = Vec::new();
        let mut again = [0.0; KINDS];
        // `there`: how much of it an earlier call did.
        let mut add = |item: Item, there: f64| {
            if item.part.stage() > until {
                return;
            }
            if let Some(sum) = again.get_mut(item.kind as usize) {
                *sum += item.units * after as f64;
            }
            items.push(Item {
                units: item.units - there,
                ..item
            });
        };
        let shadowed = shadow::asked(plan);
        let of_shadow = shadow::folder(run);
        for job in &plan.trainings {
            let calls = estimate::training(plan, job).calls();
            let private = matches!(job.kind, JobKind::DpSgd { .. });
            let mut trained = |part, run: &RunFolder| {
                let there = run.training(&job.name).exists();
                let mut item = Item::new(part, &job.name, calls);
                if private {
                    item.kind = Kind::Private;
                }
                add(item, if there { calls } else { 0.0 });
            };
            trained(Part::Train, run);
            if shadowed {
                trained(Part::TrainShadow, &of_shadow);
            }
        }
        let shadow_draws = plan.models.iter().any(|t| shadow::draws(&t.attacks));
        let (sample, data) = (&plan.sample, &plan.data);
        let scored = data.members + data.nonmembers;
        let measured = sample.features != Features::None || sample.copies != Copies::None;
        // Real images are measured once, with the first model's.
        let mut real = scored;
        for target in &plan.models {
            let calls = estimate::drawing(plan, target, captions).calls();
            let mut drawn = |part, run: &RunFolder| {
                let there = run.nearest(&target.name).exists();
                let item = Item::new(part, &target.name, calls);
                add(item, if there { calls } else { 0.0 });
            };
            drawn(Part::Sample, run);
            if shadowed && shadow_draws {
                drawn(Part::SampleShadow, &of_shadow);
            }
            if measured {
                let drawn = match plan.model.text {
                    true => scored * sample.per_prompt,
                    false => sample.n,
                };
                let there = run.utility(&target.name).exists();
                let real = if there { 0 } else { std::mem::take(&mut real) };
                let images = (drawn + real) as f64;
                let item = Item::new(Part::Quality, &target.name, images);
                add(item, if there { images } else { 0.0 });
            }
            let scores: Option<Scores> =
                dualmd_record::read_if_usable(&run.scores(&target.name, "json"))?;
            // Of attacks that ask the network, and of those that compare images: all calls, and those that are there.
            let mut calls = [[0.0; 2]; 2];
            for attack in &target.attacks {
                let name = attack.to_string();
                let mut known = scores.iter().flat_map(|s| &s.attacks);
                let there = known.any(|a| a.attack == name && !a.failed());
                let made = estimate::attacking(plan, target, attack, captions).calls();
                let [asking, comparing] = &mut calls;
                let sums = if compares(attack) { comparing } else { asking };
                sums[0] += made;
                sums[1] += if there { made } else { 0.0 };
            }
            let [asking, comparing] = calls;
            add(Item::new(Part::Attack, &target.name, asking[0]), asking[1]);
            let drawn = Item::drawn_for_attacks(&target.name, comparing[0]);
            add(drawn, comparing[1]);
        }
        let models = plan.models.len() as f64;
        add(Item::new(Part::Controls, "", models), 0.0);
        add(Item::new(Part::Report, "", models), 0.0);
        let parallel = plan.hardware.parallel_models;
        let ledger = Ledger::new(items, parallel, again, learnt, Instant::now());
        Ok(Self::hearing(ledger, inner))
    }

    fn hearing(ledger: Ledger, inner: Arc<dyn Reporter>) -> Self {
        Self {
            inner,
            ledger: Mutex::new(ledger),
        }
    }

    /// Of an audit of which nothing is counted yet: [`Self::next_model`] does so, model by model.
    pub fn of_audit(inner: Arc<dyn Reporter>) -> Self {
        let ledger = Ledger::new(
            Vec::new(),
            1,
            [0.0; KINDS],
            Learnt::default(),
            Instant::now(),
        );
        Self::hearing(ledger, inner)
    }

    /// Of a repetition: the steps of all its trainings under one title, and what `counted` says of the runs that are attacked and of all
    /// together.
    pub fn of_repetition(
        (title, steps): (&str, u64),
        counted: Repetition,
        inner: Arc<dyn Reporter>,
    ) -> Self {
        let mut ledger = Ledger::new(
            vec![Item::new(Part::Train, title, steps as f64)],
            1,
            [0.0; KINDS],
            Learnt::default(),
            Instant::now(),
        );
        ledger.items.extend(counted.of_run.iter().cloned());
        ledger.items.extend(counted.of_all.iter().cloned());
        ledger.follow(&counted.of_run, counted.runs.saturating_sub(1));
        ledger.repeated = counted;
        Self::hearing(ledger, inner)
    }

    /// The next run of a repetition that is attacked, which `after` others follow.
    pub fn next_run(&self, after: usize) {
        self.with(|ledger| {
            ledger.enter(Part::Train, Instant::now());
            let counted = std::mem::take(&mut ledger.repeated);
            ledger.items = counted.of_run.clone();
            ledger.items.extend(counted.of_all.iter().cloned());
            ledger.follow(&counted.of_run, after);
            ledger.repeated = counted;
        });
    }

    /// One title is done with the part that is worked on, of which nothing is told.
    pub fn done_here(&self, title: &str) {
        self.with(|ledger| ledger.finished(title, Instant::now()));
    }

    /// Of parts with one title each, and how much there is to do in each.
    pub fn of_parts(parts: &[(Part, &str, f64)], inner: Arc<dyn Reporter>) -> Self {
        let items = parts
            .iter()
            .map(|(part, title, units)| Item::new(*part, title, *units));
        let ledger = Ledger::new(
            items.collect(),
            1,
            [0.0; KINDS],
            Learnt::default(),
            Instant::now(),
        );
        Self::hearing(ledger, inner)
    }

    /// The next model of an audit: what is to be done with it, and `after` models of the same kind that follow it. What an earlier call
    /// left counts as work, too: it is gone through in a moment. The pace of its network is learnt anew.
    pub fn next_model(&self, model: &str, asked: &AuditWork, after: usize) {
        let at = Instant::now();
        self.with(|ledger| ledger.next_model(model, asked, after, at));
    }

    /// Begins a part of the work; those before it are done.
    pub fn enter(&self, part: Part) {
        self.with(|ledger| ledger.enter(part, Instant::now()));
    }

    /// What was learnt of the pace of all work.
    pub fn learnt(&self) -> Learnt {
        self.with(|ledger| ledger.learnt)
    }

    fn with<T>(&self, go: impl FnOnce(&mut Ledger) -> T) -> T {
        // An estimate that another thread did not finish is still one.
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        go(&mut ledger)
    }
}

/// What a repetition does with every run that is attacked, and with all runs together.
#[derive(Debug, Clone, Default)]
pub struct Repetition {
    of_run: Vec<Item>,
    of_all: Vec<Item>,
    runs: usize,
}

impl Repetition {
    /// Every model of such a run draws and is attacked. `captions`: of an image, in the mean.
    pub fn attack_all(&mut self, plan: &Plan, captions: f64) {
        for target in &plan.models {
            let calls = estimate::drawing(plan, target, captions).calls();
            self.of_run
                .push(Item::new(Part::Sample, &target.name, calls));
            let mut asking = Item::new(Part::Attack, &target.name, 0.0);
            let mut comparing = Item::drawn_for_attacks(&target.name, 0.0);
            for attack in &target.attacks {
                let item = match compares(attack) {
                    true => &mut comparing,
                    false => &mut asking,
                };
                item.units += estimate::attacking(plan, target, attack, captions).calls();
            }
            self.of_run.extend([asking, comparing]);
        }
        let models = plan.models.len() as f64;
        self.of_run.push(Item::new(Part::Controls, "", models));
    }

    /// One model of all runs is asked for its statistic, which is told under this title: so many calls.
    pub fn ask_all(&mut self, title: &str, calls: f64) {
        self.of_all.push(Item::new(Part::Statistic, title, calls));
    }

    /// So many runs are attacked, and have a report each.
    pub fn reports(&mut self, runs: usize) {
        self.runs = runs;
        for _ in 0..runs {
            self.of_all.push(Item::new(Part::Report, "", 1.0));
        }
    }
}

/// What an audit does with one model.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditWork {
    /// Network calls of the images that it draws.
    pub drawing: f64,
    /// Those of attacks that ask the network.
    pub attacking: f64,
    /// Those of images that attacks draw for themselves.
    pub drawn_for_attacks: f64,
    /// Generated images that are measured.
    pub measured: f64,
    /// Real images that are measured with those of the first model.
    pub real: f64,
    /// Models of the audit.
    pub models: usize,
}

impl Ledger {
    fn next_model(&mut self, model: &str, asked: &AuditWork, after: usize, at: Instant) {
        self.enter(Part::Train, at);
        self.learnt.forget(Kind::Draw);
        self.learnt.forget(Kind::Attack);
        let of_model = [
            Item::new(Part::Sample, model, asked.drawing),
            Item::new(Part::Quality, model, asked.measured),
            Item::new(Part::Attack, model, asked.attacking),
            Item::drawn_for_attacks(model, asked.drawn_for_attacks),
        ];
        self.follow(&of_model, after);
        self.items = of_model.to_vec();
        let first = after + 1 == asked.models;
        let quality = |item: &&mut Item| first && item.part == Part::Quality;
        for item in self.items.iter_mut().filter(quality) {
            item.units += asked.real;
        }
        let models = asked.models as f64;
        self.items.push(Item::new(Part::Controls, "", models));
        self.items.push(Item::new(Part::Report, "", models));
    }
}

impl Reporter for Whole {
    fn progress(&self, event: &ProgressEvent) {
        let left = self.with(|ledger| ledger.hear(event, Instant::now()));
        let (seconds, without) = left.map_or((0, Vec::new()), |left| {
            (left.seconds.min(1e12) as u64, left.without)
        });
        let told = seconds > 0;
        self.inner.progress(&ProgressEvent {
            run_seconds_left: told.then_some(seconds),
            run_left_without: match told {
                true => without.into_iter().map(str::to_owned).collect(),
                false => Vec::new(),
            },
            ..event.clone()
        });
    }

    fn finished(&self, model: &str, note: &str) {
        self.with(|ledger| ledger.finished(model, Instant::now()));
        self.inner.finished(model, note);
    }

    fn done(&self, task: &str, note: &str) {
        self.with(|ledger| ledger.finished(task, Instant::now()));
        self.inner.done(task, note);
    }

    fn begins(&self, model: &str, task: &str) {
        self.inner.begins(model, task);
    }

    fn ends(&self, model: &str, task: &str) {
        self.inner.ends(model, task);
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
        fn new(parallel: usize, after: [f64; KINDS], items: &[(Part, &str, f64)]) -> Self {
            let items = items
                .iter()
                .map(|(part, model, units)| Item::new(*part, model, *units));
            let began = Instant::now();
            let ledger = Ledger::new(items.collect(), parallel, after, Learnt::default(), began);
            Self { ledger, began }
        }

        fn time(&self, seconds: u64) -> Instant {
            self.began + Duration::from_secs(seconds)
        }

        /// What is left after an event at a time: seconds, and what is not among them.
        fn at(
            &mut self,
            seconds: u64,
            work: Work,
            model: &str,
            step: u64,
        ) -> Option<(f64, Vec<&'static str>)> {
            let event = event(work, model, step);
            let left = self.ledger.hear(&event, self.time(seconds))?;
            Some((left.seconds, left.without))
        }

        fn enter(&mut self, seconds: u64, part: Part) {
            self.ledger.enter(part, self.time(seconds));
        }

        fn finished(&mut self, seconds: u64, model: &str) {
            self.ledger.finished(model, self.time(seconds));
        }
    }

    fn event(stage: Work, model: &str, step: u64) -> ProgressEvent {
        ProgressEvent {
            stage,
            ..ProgressEvent::images(model, step as usize, 100, Instant::now())
        }
    }

    fn is_near(found: Option<(f64, Vec<&'static str>)>, expected: f64, without: &[&str]) {
        let near = found
            .as_ref()
            .is_some_and(|(found, _)| (found - expected).abs() < 1e-6 * expected.max(1.0));
        assert!(near, "{found:?} is not {expected}");
        assert_eq!(found.unwrap().1, without);
    }

    const RUN: [(Part, &str, f64); 10] = [
        (Part::Train, "a", 300.0),
        (Part::Train, "b", 300.0),
        (Part::Sample, "a", 100.0),
        (Part::Sample, "b", 100.0),
        (Part::Quality, "a", 60.0),
        (Part::Quality, "b", 20.0),
        (Part::Attack, "a", 150.0),
        (Part::Attack, "b", 50.0),
        (Part::Controls, "", 2.0),
        (Part::Report, "", 2.0),
    ];

    #[test]
    fn every_stage_counts_once_its_pace_is_known_and_is_named_before() {
        let mut run = Told::new(1, [0.0; KINDS], &RUN);
        assert_eq!(run.at(0, Work::Train, "a", 0), None);
        assert_eq!(run.at(9, Work::Train, "a", 18), None);
        // 60 of 600 calls in 10 s; of the other kinds nothing is guessed.
        let later = ["sample", "quality", "attack", "controls", "report"];
        is_near(run.at(10, Work::Train, "a", 20), 540.0 / 6.0, &later);
        run.at(50, Work::Train, "a", 100);
        run.finished(50, "a");
        run.at(60, Work::Train, "b", 0);
        is_near(run.at(105, Work::Train, "b", 90), 30.0 / 6.0, &later);
        run.enter(110, Part::Sample);
        // Nothing is left of trainings, and nothing else is known.
        assert_eq!(run.at(110, Work::Generate, "a", 0), None);
        assert_eq!(run.at(112, Work::Generate, "a", 50), None);
        run.at(114, Work::Generate, "a", 100);
        // A whole model was gone through: 100 calls in 4 s.
        run.finished(114, "a");
        let later = ["quality", "attack", "controls", "report"];
        is_near(run.at(114, Work::Generate, "b", 0), 4.0, &later);
        run.finished(118, "b");
        // 60 images in 12 s, 20 are left.
        run.enter(120, Part::Quality);
        assert_eq!(run.at(121, Work::Measure, "a", 50), None);
        run.finished(132, "a");
        let later = ["attack", "controls", "report"];
        is_near(run.at(132, Work::Measure, "b", 0), 4.0, &later);
        is_near(run.at(135, Work::Measure, "b", 50), 1.0, &later);
        run.finished(136, "b");
        run.enter(136, Part::Attack);
        run.at(136, Work::Attack, "a", 0);
        is_near(
            run.at(151, Work::Attack, "a", 10),
            185.0,
            &["controls", "report"],
        );
        run.enter(400, Part::Controls);
        run.enter(430, Part::Report);
        let learnt = run.ledger.learnt;
        assert_eq!(learnt.of(Kind::Controls).rate(), Some(2.0 / 30.0));

        // The next seed's run of the same experiment: all is known from its first event on but the report, which the caller timed.
        let mut next = Told::new(1, [0.0; KINDS], &RUN);
        next.ledger.learnt = learnt;
        let known = 600.0 / 6.0 + 200.0 * 4.0 / 100.0 + 80.0 * 16.0 / 80.0 + 200.0 + 30.0;
        is_near(next.at(0, Work::Train, "a", 0), known, &["report"]);
        next.ledger.learnt.report(2, Duration::from_secs(8));
        is_near(next.at(0, Work::Train, "a", 0), known + 8.0, &[]);
    }

    #[test]
    fn what_follows_counts_as_well() {
        let mut after = [0.0; KINDS];
        after[Kind::Train as usize] = 400.0;
        after[Kind::Draw as usize] = 100.0;
        let mut run = Told::new(2, after, &[(Part::Train, "a", 200.0)]);
        run.at(0, Work::Train, "a", 50);
        // 20 calls in 10 s of one training, twice as many of two.
        let left = 80.0 / 2.0 + 400.0 / 4.0;
        is_near(run.at(10, Work::Train, "a", 60), left, &["sample"]);
        // A model that nobody counted changes nothing, and neither does one that begins anew.
        is_near(run.at(20, Work::Train, "x", 60), left, &["sample"]);
        let left = 200.0 / 2.0 + 400.0 / 4.0;
        is_near(run.at(30, Work::Train, "a", 0), left, &["sample"]);
    }

    #[test]
    fn a_private_training_is_no_measure_of_others_and_each_has_its_own_pace() {
        let items = [
            (Part::Train, "a", 100.0),
            (Part::Train, "b", 100.0),
            (Part::Train, "dp", 3600.0),
        ];
        let mut run = Told::new(1, [0.0; KINDS], &items);
        run.ledger.items[2].kind = Kind::Private;
        run.at(0, Work::Train, "a", 0);
        is_near(run.at(20, Work::Train, "a", 50), 60.0, &["dp-sgd"]);
        run.at(40, Work::Train, "a", 100);
        run.finished(40, "a");
        // Half as fast: 100 calls in 80 s by itself.
        run.at(40, Work::Train, "b", 0);
        is_near(run.at(80, Work::Train, "b", 50), 40.0, &["dp-sgd"]);
        run.at(120, Work::Train, "b", 100);
        run.finished(120, "b");
        run.at(120, Work::Train, "dp", 0);
        // A tenth in 30 s, though it was counted as long.
        is_near(run.at(150, Work::Train, "dp", 10), 270.0, &[]);
    }

    #[test]
    fn what_is_searched_for_is_drawn_with_when_it_is_found() {
        let parts = [
            (Part::Search, "search", 4.0),
            (Part::Sample, "sample", 40.0),
            (Part::Judge, "", 1.0),
        ];
        let mut extract = Told::new(1, [0.0; KINDS], &parts);
        extract.enter(0, Part::Search);
        extract.at(0, Work::Generate, "search", 25);
        let later = ["sample", "comparison"];
        is_near(extract.at(20, Work::Generate, "search", 75), 10.0, &later);
        extract.at(30, Work::Generate, "search", 100);
        extract.at(30, Work::Generate, "sample", 10);
        let found = extract.at(50, Work::Generate, "sample", 50);
        is_near(found, 25.0, &["comparison"]);
    }

    #[test]
    fn trainings_side_by_side_are_as_long_as_the_longest() {
        let items = [
            (Part::Train, "a", 100.0),
            (Part::Train, "b", 100.0),
            (Part::Train, "c", 400.0),
        ];
        let mut run = Told::new(2, [0.0; KINDS], &items);
        run.at(0, Work::Train, "a", 0);
        run.at(0, Work::Train, "b", 0);
        run.at(10, Work::Train, "a", 10);
        // Each makes a call in a second: 90, 90 and 400 are left, the last by itself.
        is_near(run.at(10, Work::Train, "b", 10), 400.0, &[]);
        // Where all are of a size, two at a time.
        let mut run = Told::new(2, [0.0; KINDS], &items[..2]);
        run.at(0, Work::Train, "a", 0);
        is_near(run.at(10, Work::Train, "a", 10), 100.0, &[]);
    }

    #[test]
    fn an_audit_learns_quality_with_its_first_model_and_the_network_with_each() {
        let mut audit = Told::new(1, [0.0; KINDS], &[]);
        let work = AuditWork {
            drawing: 100.0,
            attacking: 300.0,
            drawn_for_attacks: 50.0,
            measured: 40.0,
            real: 20.0,
            models: 3,
        };
        let at = audit.time(0);
        audit.ledger.next_model("m", &work, 2, at);
        audit.enter(0, Part::Sample);
        assert_eq!(audit.at(0, Work::Generate, "m", 0), None);
        // 50 calls in 10 s. Left: 50 here, 50 that attacks draw, and 150 of each of the other models.
        let later = ["quality", "attack", "controls", "report"];
        is_near(audit.at(10, Work::Generate, "m", 50), 400.0 / 5.0, &later);
        // What is done beside changes nothing.
        let beside = event(Work::Generate, "m", 90).doing("beside");
        let left = audit.ledger.hear(&beside, audit.time(12)).unwrap();
        assert!((left.seconds - 80.0).abs() < 1e-9, "{left:?}");
        audit.enter(20, Part::Quality);
        audit.enter(32, Part::Attack);
        // 60 images in 12 s, 40 are left of each of the others; 50 + 2 * 150 calls of drawing are left.
        is_near(
            audit.at(32, Work::Attack, "m", 0),
            16.0 + 350.0 / 5.0,
            &["attack", "controls", "report"],
        );
        is_near(
            audit.at(62, Work::Attack, "m", 100),
            16.0 + 350.0 / 5.0 + 600.0 / 10.0,
            &["controls", "report"],
        );
        audit.finished(64, "m");
        let at = audit.time(64);
        audit.ledger.next_model("n", &work, 1, at);
        audit.enter(64, Part::Sample);
        let later = ["sample", "attack", "controls", "report"];
        is_near(audit.at(64, Work::Generate, "n", 0), 16.0, &later);
    }

    #[test]
    fn a_repetition_counts_its_runs_its_statistic_and_its_reports() {
        let mut counted = Repetition::default();
        counted.of_run.push(Item::new(Part::Sample, "m", 50.0));
        counted.ask_all("m, lira", 80.0);
        counted.reports(2);
        let silent = Arc::new(crate::reporter::Silent);
        let whole = Whole::of_repetition(("shadows", 1000), counted, silent);
        let began = Instant::now();
        let time = |seconds| began + Duration::from_secs(seconds);
        let left = |work, model: &str, task: Option<&str>, step, seconds| {
            let event = event(work, model, step);
            let event = match task {
                Some(task) => event.doing(task),
                None => event,
            };
            let left = whole.with(|ledger| ledger.hear(&event, time(seconds)));
            left.map(|left| (left.seconds, left.without))
        };
        left(Work::Train, "", Some("shadows"), 0, 0);
        let found = left(Work::Train, "", Some("shadows"), 50, 25);
        is_near(found, 25.0, &["sample", "statistic", "report"]);
        whole.next_run(1);
        whole.with(|ledger| ledger.enter(Part::Sample, time(50)));
        left(Work::Generate, "m", None, 0, 50);
        // 50 calls of the next run are left, too.
        let found = left(Work::Generate, "m", None, 50, 60);
        is_near(found, 75.0 / 2.5, &["statistic", "report"]);
        whole.next_run(0);
        whole.with(|ledger| ledger.enter(Part::Statistic, time(100)));
        left(Work::Attack, "m", Some("lira"), 0, 100);
        let found = left(Work::Attack, "m", Some("lira"), 50, 120);
        is_near(found, 20.0, &["report"]);
        whole.with(|ledger| {
            ledger.enter(Part::Report, time(140));
            ledger.finished("", time(143));
        });
        // One of two reports in three seconds.
        let left = whole.with(|ledger| ledger.left(time(144)));
        assert!(left.is_some_and(|left| (left.seconds - 2.0).abs() < 1e-9));
    }

    #[test]
    fn all_that_is_told_is_handed_on() {
        #[derive(Default)]
        struct Heard(Mutex<Vec<(Option<u64>, Vec<String>)>>);
        impl Reporter for Heard {
            fn progress(&self, event: &ProgressEvent) {
                let told = (event.run_seconds_left, event.run_left_without.clone());
                self.0.lock().unwrap().push(told);
            }
            fn finished(&self, _: &str, _: &str) {}
            fn say(&self, _: &str) {}
            fn warn(&self, _: &str) {}
        }
        let heard = Arc::new(Heard::default());
        let parts = [(Part::Sample, "sample", 10.0), (Part::Judge, "", 1.0)];
        let whole = Whole::of_parts(&parts, heard.clone());
        whole.enter(Part::Sample);
        // On the real clock nothing was measured for long enough.
        let told = event(Work::Generate, "", 10).doing("sample");
        whole.progress(&told);
        whole.with(|ledger| {
            let draw = &mut ledger.learnt;
            draw.add(Kind::Draw, 1.0, 20.0);
        });
        whole.progress(&told);
        let heard = heard.0.lock().unwrap();
        assert_eq!(heard[0], (None, Vec::new()));
        // Nine are left, of 20 s each at least.
        assert!(heard[1].0.is_some_and(|left| left > 150), "{heard:?}");
        assert_eq!(heard[1].1, ["comparison"]);
    }
}
