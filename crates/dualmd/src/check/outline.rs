//! The plan of an experiment whose images were not read: the numbers are those that it asks for.

use crate::experiment::Experiment;
use crate::plan::{Context as PlanContext, DataFacts, NetworkFacts, Plan};
use crate::session::Session;
use crate::stages::prepare;
use anyhow::Result;
use dualmd_diffusion::Backbone;
use dualmd_torch::Device;

/// Channels of images that nobody looked at and of which the experiment does not say.
const COLOUR: usize = 3;

/// The plan and the shape of its images [C, H, W]; classes count as one.
///
/// # Errors
/// An attack, a network or a prompt diversification that is not possible.
pub(super) fn plan(experiment: &Experiment, session: &Session) -> Result<(Plan, [usize; 3])> {
    let data = &experiment.data;
    let engine = session.engine.to_train(experiment.train.dtype)?;
    let channels = data.channels.map_or(COLOUR, usize::from);
    let side = data.image_size as usize;
    let shape = [channels, side, side];
    let labels = data.labels.then(|| vec!["0".to_owned()]);
    let (parameters, config) = match experiment.is_text() {
        // Found where it is timed.
        true => (0, serde_json::Value::Null),
        false => {
            let config = prepare::network(experiment, shape, labels.as_ref().map(Vec::len))?;
            let network = Backbone::fresh(&config, 0, Device::Cpu)?;
            (network.parameters().count(), serde_json::to_value(&config)?)
        }
    };
    let members = experiment.counted_members();
    let context = PlanContext {
        cores: engine.threads,
        memory_gb: crate::machine::memory_gb(),
        device: engine.device_name(),
        dtype: engine.precision.name().into(),
        data: DataFacts {
            source: data.source.clone(),
            image_size: data.image_size,
            channels: u8::try_from(channels).unwrap_or(3),
            records: data.members.saturating_add(data.nonmembers),
            members,
            nonmembers: data.members.saturating_add(data.nonmembers) - members,
            d1: members / 2,
            d2: members - members / 2,
            ..DataFacts::default()
        },
        network: NetworkFacts {
            preset: experiment.model.preset.clone(),
            parameters: parameters as u64,
            text: experiment.is_text(),
            labels,
            config,
            ..NetworkFacts::default()
        },
        ..PlanContext::default()
    };
    Ok((Plan::resolve(experiment, &context)?, shape))
}
