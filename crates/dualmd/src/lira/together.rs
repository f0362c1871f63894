//! Progress of all trainings of a repetition as one.

use crate::reporter::{ProgressEvent, Reporter, Work};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What the trainings of all runs are called together.
pub(super) const SHADOWS: &str = "shadows";

/// Adds up the steps of trainings, and tells the sum.
pub(super) struct Together {
    inner: Arc<dyn Reporter>,
    /// Steps of all trainings that are still to be done.
    total: u64,
    /// By run and model: steps that are done, and images in a second.
    trainings: Mutex<BTreeMap<(usize, String), (u64, f64)>>,
}

impl Together {
    pub(super) fn new(inner: Arc<dyn Reporter>, total: u64) -> Self {
        Self {
            inner,
            total,
            trainings: Mutex::new(BTreeMap::new()),
        }
    }

    /// Takes note of one training, and gives what is to be told of all.
    fn heard(&self, run: usize, model: &str, step: Option<u64>, speed: f64) -> ProgressEvent {
        // A sum that another thread did not finish is still one.
        let mut trainings = self
            .trainings
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let training = trainings.entry((run, model.to_owned())).or_default();
        *training = (step.unwrap_or(training.0), speed);
        let done: u64 = trainings.values().map(|(steps, _)| steps).sum();
        ProgressEvent {
            model: String::new(),
            stage: Work::Train,
            task: Some(SHADOWS.to_owned()),
            step: done.min(self.total),
            total: self.total,
            epoch: None,
            loss: None,
            images_per_second: trainings.values().map(|(_, speed)| speed).sum(),
            run_seconds_left: None,
            run_left_without: Vec::new(),
        }
    }
}

/// Hears the trainings of one run. What each of many says is of no use beside the others; warnings are.
pub(super) struct OfRun {
    pub(super) run: usize,
    pub(super) all: Arc<Together>,
}

impl Reporter for OfRun {
    fn progress(&self, event: &ProgressEvent) {
        let (step, speed) = (Some(event.step), event.images_per_second);
        let all = self.all.heard(self.run, &event.model, step, speed);
        self.all.inner.progress(&all);
    }

    fn finished(&self, model: &str, _: &str) {
        // Done, or stopped: it trains no more.
        self.all.heard(self.run, model, None, 0.0);
    }

    fn begins(&self, model: &str, task: &str) {
        self.all.inner.begins(model, task);
    }

    fn ends(&self, model: &str, task: &str) {
        self.all.inner.ends(model, task);
    }

    fn say(&self, _: &str) {}

    fn warn(&self, text: &str) {
        self.all.inner.warn(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn steps_of_all_trainings_are_added_up() {
        #[derive(Default)]
        struct Heard(Mutex<Vec<ProgressEvent>>, Mutex<Vec<String>>);
        impl Reporter for Heard {
            fn progress(&self, event: &ProgressEvent) {
                self.0.lock().unwrap().push(event.clone());
            }
            fn finished(&self, _: &str, _: &str) {}
            fn begins(&self, model: &str, task: &str) {
                self.1
                    .lock()
                    .unwrap()
                    .push(format!("{model} begins {task}"));
            }
            fn ends(&self, model: &str, task: &str) {
                self.1.lock().unwrap().push(format!("{model} ends {task}"));
            }
            fn say(&self, _: &str) {}
            fn warn(&self, _: &str) {}
        }
        let heard = Arc::new(Heard::default());
        let all = Arc::new(Together::new(heard.clone(), 300));
        let runs = [0, 1].map(|run| OfRun {
            run,
            all: Arc::clone(&all),
        });
        let event = |step: usize| ProgressEvent {
            stage: Work::Train,
            images_per_second: 5.0,
            ..ProgressEvent::images("student", step, 100, Instant::now())
        };
        runs[0].begins("student", "starting");
        runs[0].ends("student", "starting");
        runs[0].progress(&event(40));
        runs[1].progress(&event(10));
        runs[0].progress(&event(100));
        runs[0].finished("student", "trained");
        runs[1].progress(&event(20));
        let starts = heard.1.lock().unwrap();
        assert_eq!(
            *starts,
            ["student begins starting", "student ends starting"]
        );
        let heard = heard.0.lock().unwrap();
        let steps: Vec<u64> = heard.iter().map(|event| event.step).collect();
        assert_eq!(steps, [40, 50, 110, 120]);
        let speeds: Vec<f64> = heard.iter().map(|event| event.images_per_second).collect();
        assert_eq!(speeds, [5.0, 10.0, 10.0, 5.0]);
        assert!(heard.iter().all(|e| e.total == 300 && e.title() == SHADOWS));
    }
}
