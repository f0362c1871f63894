//! Options of `dualmd tune`.

use super::Asked;
use dualmd::TuneOptions;
use dualmd_front::args::{Global, TuneArgs};

impl Asked for TuneArgs {
    type Options = TuneOptions;

    fn options(&self, global: &Global) -> TuneOptions {
        let rank = self.rank.map(|rank| format!("train.lora_rank={rank}"));
        let epochs = self.epochs.map(|n| format!("train.epochs={n}"));
        let own = [rank, epochs].into_iter().flatten();
        let sets = own.chain(self.set.iter().cloned()).chain(global.sets());
        let captioner = self.caption_model.clone();
        TuneOptions {
            members: self.members,
            nonmembers: self.nonmembers,
            captioner: captioner.map(|model| (model, self.captions)),
            caption_column: self.caption_column.clone(),
            rivals: self.rivals.clone(),
            epsilon: self.epsilon,
            sets: sets.collect(),
            seeds: self.seeds,
            report: self.fail.report(),
            ..TuneOptions::new(&self.base, &self.images, &self.out)
        }
    }
}
