//! Options of `dualmd caption`.

use super::Asked;
use dualmd::CaptionsOptions;
use dualmd_front::args::{CaptionArgs, Global};

impl Asked for CaptionArgs {
    type Options = CaptionsOptions;

    fn options(&self, global: &Global) -> CaptionsOptions {
        CaptionsOptions {
            data: self.data.clone(),
            model: self.model.clone(),
            n: self.n,
            greedy: self.greedy,
            top_p: self.top_p,
            prompt: self.prompt.clone(),
            image_size: self.image_size,
            caption_column: self.caption_column.clone(),
            batch: self.batch,
            out: self.out.clone(),
            seed: global.seed(),
        }
    }
}
