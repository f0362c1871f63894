//! Generating: every model from the same noise, and how near what it draws lies to its training images.

use super::draw::Draw;
use super::generator::{Generator, stopped, weight_set};
use super::prepare::Images;
use super::score::subject::Drawing;
use super::text::Told;
use super::{RunFolder, create_folder, pictures};
use crate::plan::{Plan, Target};
use crate::reporter::meanwhile;
use crate::session::Session;
use anyhow::Result;
use dualmd_attack::nn;
use dualmd_data::{ImageSet, Record, drawn, grid, save_png};
use dualmd_diffusion::latent::Early;
use dualmd_files::Building;
use dualmd_record::folder::{NEAREST, PROMPTS};
use dualmd_record::samples::{HeldoutReference, Nearest, NearestPair, PromptedImage};
use dualmd_torch::weights::{read_npy, write_npy};
use dualmd_torch::{Device, Tensor};
use std::path::{Path, PathBuf};

/// Pairs of generated and nearest training image that are kept for the report.
const PAIRS: usize = 12;
/// Pictures in a grid.
const GRID: usize = 32;

/// The guidance that a plan has at first, if it has another there.
pub fn early_of(plan: &Plan) -> Option<Early> {
    let s = &plan.sample;
    s.guidance_from.map(|above| Early {
        above: i64::from(above),
        scale: s.early_guidance,
    })
}

/// What the models of a plan draw.
pub fn drawing_of(plan: &Plan) -> Drawing {
    let s = &plan.sample;
    Drawing {
        n: s.n,
        steps: s.steps,
        sampler: s.sampler,
        order: s.order,
        per_prompt: s.per_prompt,
        guidance: s.guidance,
    }
}

/// Samples from every audited model of a plan. Returns false if asked to stop before the end.
pub fn all(run: &RunFolder, plan: &Plan, images: &Images, session: &Session) -> Result<bool> {
    let reporter = session.reporter.as_ref();
    for target in &plan.models {
        if session.stopped() {
            return Ok(false);
        }
        let folder = run.samples(&target.name);
        if folder.join(NEAREST).exists() {
            if !compared(&folder)? {
                let generated = of_members(plan, images, read_samples(run, &target.name)?);
                meanwhile(reporter, &target.name, "nearest images", || {
                    nearest_of_run(plan, images, &folder, &generated)
                })?;
            }
            continue;
        }
        drawn::room(&folder, true)?;
        let generated = meanwhile(reporter, &target.name, "generating", || {
            generate(run, plan, target, images, session)
        });
        let generated = match generated {
            Ok(generated) => generated,
            Err(error) if stopped(&error) => return Ok(false),
            Err(error) => {
                return Err(error.context(format!("sampling from {} failed", target.name)));
            }
        };
        write_samples(&folder, &generated, true)?;
        if plan.model.text {
            let asked =
                prompted(images).map(|(r, member)| (r.id.as_str(), member, &r.captions[..]));
            write_prompts(&folder, asked, plan.sample.per_prompt)?;
        }
        let generated = of_members(plan, images, generated);
        meanwhile(reporter, &target.name, "nearest images", || {
            nearest_of_run(plan, images, &folder, &generated)
        })?;
        session.reporter.finished(
            &target.name,
            &format!("{} images drawn", generated.size()[0]),
        );
    }
    Ok(true)
}

/// Does `nearest.json` hold the comparison at equal numbers? Those of earlier versions do not; the images that were drawn are still
/// there.
///
/// # Errors
/// A newer version of this program wrote it.
fn compared(folder: &Path) -> Result<bool> {
    let file: Option<Nearest> = dualmd_record::read_if_usable(&folder.join(NEAREST))?;
    Ok(file.is_some_and(|file| file.equal.is_some()) || !folder.join("samples.npy").exists())
}

fn nearest_of_run(plan: &Plan, images: &Images, folder: &Path, generated: &Tensor) -> Result<()> {
    let (set, members) = images.held()?;
    let positions: Vec<usize> = (0..set.len()).collect();
    let (members, nonmembers) = positions.split_at(members);
    let side = |positions| Side {
        set: &set,
        positions,
    };
    write_nearest(
        folder,
        generated,
        side(members),
        side(nonmembers),
        images.alone(),
        plan.seed,
        plan.model.text,
    )
}

fn generate(
    run: &RunFolder,
    plan: &Plan,
    target: &Target,
    images: &Images,
    session: &Session,
) -> Result<Tensor> {
    let folders: Vec<PathBuf> = target.parts.iter().map(|p| run.model(p)).collect();
    let generator = Generator::open(&folders, weight_set(plan.audit.weights), &session.engine)?
        .delayed(early_of(plan));
    let told = Told::by(generator.first());
    let words = prompted(images).map(|(record, _)| told.words(images.set(), record));
    let words = words.collect::<Result<Vec<_>>>()?;
    let words: Vec<&[String]> = words.iter().map(Vec::as_slice).collect();
    let draw = Draw {
        generator: &generator,
        name: &target.name,
        words: Some(&words),
        label_guidance: plan.sample.label_guidance,
        shape: images.set().shape(),
        drawing: drawing_of(plan),
        batch: plan.sample.batch,
        seed: plan.seed,
    };
    draw.images(session, None)
}

/// Pictures whose captions are the prompts of a run's images: all members, then all non-members.
fn prompted(images: &Images) -> impl Iterator<Item = (&Record, bool)> {
    let (s, set) = (&images.selected, images.set());
    let record = |i: &usize| &set.records[*i];
    let members = s.members.iter().map(move |i| (record(i), true));
    members.chain(s.nonmembers.iter().map(move |i| (record(i), false)))
}

/// `prompts.json`: what each image was drawn for. `asked`: of every sample its id, whether it is a member, and its captions, of
/// which the first was drawn for `each` times.
pub fn write_prompts<'a>(
    folder: &Path,
    asked: impl IntoIterator<Item = (&'a str, bool, &'a [String])>,
    each: usize,
) -> Result<()> {
    let mut entries = Vec::new();
    for (id, member, captions) in asked {
        for _ in 0..each {
            entries.push(PromptedImage {
                png: drawn::image_name(entries.len()),
                prompt: captions.first().cloned(),
                id: id.to_owned(),
                member,
            });
        }
    }
    Ok(dualmd_record::write_list(&folder.join(PROMPTS), &entries)?)
}

/// The images drawn for members' captions, of all that a model of the plan drew; all of them of an unconditional model.
pub fn of_members(plan: &Plan, images: &Images, generated: Tensor) -> Tensor {
    if !plan.model.text {
        return generated;
    }
    let n = images.selected.members.len() * plan.sample.per_prompt;
    generated.narrow(0, 0, n as i64)
}

/// `samples.npy`, `NNNN.png` and `grid.png`, in place of those of an earlier call. `own`: the folder is this program's by its
/// place, within a run's.
///
/// # Errors
/// A folder that holds other pictures ([`drawn::room`] says so before the work) or cannot be written.
pub fn write_samples(folder: &Path, generated: &Tensor, own: bool) -> Result<()> {
    create_folder(folder)?;
    drawn::clear(&drawn::room(folder, own)?)?;
    let pictures = pictures::pictures(generated)?;
    // First: it says of which pictures the folder is.
    write_npy(&folder.join(drawn::ARRAY), generated)?;
    for (i, picture) in pictures.iter().enumerate() {
        save_png(&folder.join(drawn::image_name(i)), picture)?;
    }
    Ok(save_png(
        &folder.join(drawn::SHEET),
        &grid(&pictures[..pictures.len().min(GRID)], 8, 1),
    )?)
}

/// The images drawn by a model of a run, as the sampling stage left them.
pub fn read_samples(run: &RunFolder, name: &str) -> Result<Tensor> {
    Ok(read_npy(&run.samples(name).join(drawn::ARRAY))?)
}

/// Some pictures of a set.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// The set.
    pub set: &'a ImageSet,
    /// Positions in it.
    pub positions: &'a [usize],
}

impl Side<'_> {
    /// [N, C, H, W] f32 in [-1, 1] on the CPU.
    pub fn tensor(&self) -> Tensor {
        pictures::tensor(self.set, self.positions)
    }
}

/// `nearest.json`: the generated images that lie nearest to a member, with the distance unseen images have as yardstick, and all of
/// them against as many members as unseen images, of these one of each group (`alone`, places in the sides' positions). `prompted`: they were drawn for captions of members, near whose images they lie
/// for that alone; then there is no such comparison.
pub fn write_nearest(
    folder: &Path,
    generated: &Tensor,
    members: Side<'_>,
    heldout: Side<'_>,
    alone: Option<[Vec<usize>; 2]>,
    seed: u64,
    prompted: bool,
) -> Result<()> {
    let (trained, unseen) = (members.tensor(), heldout.tensor());
    let generated = generated.to_device(Device::Cpu);
    let to_members = nn::nearest(&generated, &trained)?;
    let to_heldout = nn::nearest(&generated, &unseen)?;
    let reference = nn::nearest(&unseen, &trained)?;
    let equal = match prompted {
        true => None,
        false => match alone {
            None => super::nearer::measure(&generated, members, heldout, seed)?,
            Some(places) => {
                let [own, others] = places;
                let of = |side: Side<'_>, places: &[usize]| -> Vec<usize> {
                    places.iter().map(|&i| side.positions[i]).collect()
                };
                let (own, others) = (of(members, &own), of(heldout, &others));
                let members = Side {
                    positions: &own,
                    ..members
                };
                let heldout = Side {
                    positions: &others,
                    ..heldout
                };
                super::nearer::measure(&generated, members, heldout, seed)?
            }
        },
    };
    let mut order: Vec<usize> = (0..to_members.len()).collect();
    order.sort_by(|&a, &b| to_members[a].distance.total_cmp(&to_members[b].distance));
    // As with the exposed members: the list speaks of pictures that are there; those of an earlier call are of other images.
    let list = folder.join(NEAREST);
    super::remove(&list)?;
    create_folder(folder)?;
    let building = Building::new(&folder.join(drawn::NEAREST))?;
    let mut pairs = Vec::new();
    for &i in order.iter().take(PAIRS) {
        let record = &members.set.records[members.positions[to_members[i].index]];
        let id = record.id.as_str();
        save_png(&building.path().join(format!("{id}.png")), &record.picture)?;
        pairs.push(NearestPair {
            sample: drawn::image_name(i),
            member_id: id.to_owned(),
            member_png: format!("nearest/{id}.png"),
            distance: Some(to_members[i].distance),
            heldout_distance: Some(to_heldout[i].distance),
        });
    }
    let distances = |list: &[nn::Nearest]| list.iter().map(|n| n.distance).collect::<Vec<_>>();
    building.finish()?;
    let nearest = Nearest {
        n_generated: Some(to_members.len().into()),
        pairs,
        median_distance_members: quantile(distances(&to_members), 0.5),
        median_distance_heldout: quantile(distances(&to_heldout), 0.5),
        heldout_reference: HeldoutReference {
            q05: quantile(distances(&reference), 0.05),
            median: quantile(distances(&reference), 0.5),
        },
        equal: Some(equal),
        prompted,
    };
    Ok(dualmd_record::write(&list, &nearest)?)
}

/// The q-quantile by linear interpolation; None of nothing.
fn quantile(mut values: Vec<f64>, q: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let at = q * values.len().checked_sub(1)? as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    Some(values[low] + (values[high] - values[low]) * at.fract())
}
