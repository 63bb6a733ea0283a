//! `artifacts`: what the table refers to in the object store. The coordinator tells what and where; objects are read from here, with the
//! credentials of this process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use proto::id::Digest;
use proto::v1::{ArtifactsReply, ArtifactsRequest, ListedArtifact};
use worker_artifacts::{ArtifactRef, Artifacts};

use super::connect::{answer, connect};
use super::{CoordinatorArgs, Failure};
use crate::output::{artifacts_table, print, print_json, tell, view};
use crate::plan::STAGES;

/// What `artifacts` does.
#[derive(Debug, Subcommand)]
pub(super) enum ArtifactsCommand {
    /// List results.
    Ls(LsArgs),
    /// Write the files of a job's result into a folder.
    Get(GetArgs),
    /// Read everything that the table refers to, and tell what is missing or damaged.
    Verify(VerifyArgs),
    /// Write a sweep's adapters as folders that PEFT loads, one per tool: the pretrained ones, or with `--stage finetune` the finetuned.
    Export(ExportArgs),
}

/// Which artifacts.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Only of this sweep, by id or name.
    sweep: Option<String>,
    /// Only of these jobs, by id.
    #[arg(long = "job", value_name = "ID")]
    jobs: Vec<i64>,
    /// Only of jobs of this stage.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(STAGES))]
    stage: Option<String>,
    /// Only of jobs whose label matches a pattern with `*` and `?`.
    #[arg(long, value_name = "PATTERN")]
    label: Option<String>,
}

/// What `artifacts ls` takes.
#[derive(Debug, Args)]
pub(super) struct LsArgs {
    #[command(flatten)]
    which: Which,
    /// Also checkpoints and inputs.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    coordinator: CoordinatorArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What `artifacts get` takes.
#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// The job, by id.
    job: i64,
    /// Where to. Files that are there and differ are never overwritten.
    dir: PathBuf,
    #[command(flatten)]
    coordinator: CoordinatorArgs,
}

/// What `artifacts verify` takes.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    coordinator: CoordinatorArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What `artifacts export` takes.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    which: Which,
    /// The folder of the adapters' folders.
    #[arg(long, value_name = "DIR")]
    peft: PathBuf,
    #[command(flatten)]
    coordinator: CoordinatorArgs,
}

pub(super) async fn run(command: ArtifactsCommand) -> Result<(), Failure> {
    match command {
        ArtifactsCommand::Ls(args) => list(args).await,
        ArtifactsCommand::Get(args) => get(args).await,
        ArtifactsCommand::Verify(args) => verify(args).await,
        ArtifactsCommand::Export(args) => export(args).await,
    }
}

async fn ask(coordinator: &CoordinatorArgs, which: Which, results: bool) -> Result<ArtifactsReply, Failure> {
    let Which { sweep, jobs, stage, label } = which;
    let [sweep, stage, label] = [sweep, stage, label].map(Option::unwrap_or_default);
    let request = ArtifactsRequest { sweep, jobs, stage, label, results };
    answer(connect(coordinator).await?.artifacts(request).await)
}

async fn list(args: LsArgs) -> Result<(), Failure> {
    let reply = ask(&args.coordinator, args.which, !args.all).await?;
    if args.json {
        return Ok(print_json(&view::Artifacts::from(reply))?);
    }
    Ok(print(&artifacts_table(&reply.artifacts))?)
}

async fn get(args: GetArgs) -> Result<(), Failure> {
    let which = Which { sweep: None, jobs: vec![args.job], stage: None, label: None };
    let reply = ask(&args.coordinator, which, true).await?;
    let Some(listed) = reply.artifacts.first() else {
        return Err(Failure::new(format!("job {} has no result", args.job)));
    };
    let manifest = Artifacts::open(&reply.store)?.export(&reference(listed)?, &args.dir).await?;
    let (files, dir) = (manifest.files.len(), args.dir.display());
    Ok(print(&format!("{}: {files} files, {} bytes in {dir}", listed.role, manifest.size()))?)
}

async fn verify(args: VerifyArgs) -> Result<(), Failure> {
    let reply = ask(&args.coordinator, args.which, false).await?;
    let mut users: BTreeMap<ArtifactRef, Vec<&ListedArtifact>> = BTreeMap::new();
    for listed in &reply.artifacts {
        users.entry(reference(listed)?).or_default().push(listed);
    }
    let all: BTreeSet<_> = users.keys().cloned().collect();
    let verified = Artifacts::open(&reply.store)?.verify(&all, true).await?;
    let mut bad = Vec::new();
    for problem in &verified.problems {
        for artifact in &problem.artifacts {
            let listed = users.get(artifact).into_iter().flatten();
            bad.extend(listed.map(|listed| view::BadArtifact::new(listed, &problem.error)));
        }
    }
    let (artifacts, objects, bytes) = (all.len() as u64, verified.objects, verified.bytes);
    if args.json {
        print_json(&view::Verified { artifacts, objects, bytes, bad: &bad })?;
    } else {
        for line in &bad {
            print(&line.to_string())?;
        }
        tell(&format!("{artifacts} artifacts, {objects} objects, {bytes} bytes read"));
    }
    match bad.len() {
        0 => Ok(()),
        n => Err(Failure::new(format!("{n} artifacts of jobs are not whole"))),
    }
}

async fn export(args: ExportArgs) -> Result<(), Failure> {
    let reply = ask(&args.coordinator, args.which, true).await?;
    let store = Artifacts::open(&reply.store)?;
    let folders = folders(&reply.artifacts, &args.peft)?;
    for (folder, (listed, below)) in &folders {
        store.export_below(&reference(listed)?, below, folder).await?;
    }
    Ok(print(&format!("{} artifacts in {}", folders.len(), args.peft.display()))?)
}

/// Folders below `peft`, and which part of which artifact each shall hold.
type Folders<'a> = BTreeMap<PathBuf, (&'a ListedArtifact, &'static str)>;

/// Where adapters go: one of pretraining into a folder of its tool's name; those of a finetuning have such folders already.
fn folders<'a>(listed: &'a [ListedArtifact], peft: &Path) -> Result<Folders<'a>, Failure> {
    let finetuned = listed.iter().all(|listed| listed.role != "adapter");
    let mut folders = Folders::new();
    for listed in listed {
        let (folder, below) = match (listed.role.as_str(), finetuned) {
            ("adapter", _) => (peft.join(folder_of(&listed.label)?), ""),
            ("adapters", true) => (peft.to_owned(), "tools/"),
            _ => continue,
        };
        if let Some((other, _)) = folders.insert(folder, (listed, below)) {
            let [one, two] = [other, listed].map(|listed| listed.task.unwrap_or_default().job);
            let label = &listed.label;
            return Err(Failure::new(format!(
                "jobs {one} and {two} both made adapters called `{label}`: name a sweep, or one of them by --job"
            )));
        }
    }
    if folders.is_empty() {
        return Err(Failure::new("no job that is meant has committed an adapter"));
    }
    Ok(folders)
}

/// The folder of an adapter, named like its tool. A name that would lead out of the folder is refused.
fn folder_of(label: &str) -> Result<&str, Failure> {
    let leads_out = label.split('/').any(|part| matches!(part, "" | "." | ".."));
    if leads_out || label.contains(['\\', '\0']) {
        return Err(Failure::new(format!("`{label}` cannot be the name of a folder")));
    }
    Ok(label)
}

fn reference(listed: &ListedArtifact) -> Result<ArtifactRef, Failure> {
    let artifact = listed.artifact.clone().unwrap_or_default();
    let digest: Digest = artifact.digest.parse().map_err(|error| {
        Failure::new(format!("the coordinator names an artifact wrongly: {}: {error}", artifact.path))
    })?;
    Ok(ArtifactRef { path: artifact.path, digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finetuned_adapters_are_meant_where_no_pretrained_ones_are() {
        let listed = |role: &str, label: &str| ListedArtifact {
            role: role.to_owned(),
            label: label.to_owned(),
            ..ListedArtifact::default()
        };
        let all = [listed("adapter", "time"), listed("adapters", "finetune"), listed("report", "soft")];
        let names = |listed: &[ListedArtifact]| {
            let folders = folders(listed, Path::new("out"))?;
            let name = |(folder, (_, below)): (&PathBuf, &(_, &str))| format!("{} {below}", folder.display());
            Ok::<_, Failure>(folders.iter().map(name).collect::<Vec<_>>())
        };
        assert_eq!(names(&all).unwrap(), ["out/time "]);
        assert_eq!(names(&all[1..]).unwrap(), ["out tools/"]);
        assert!(names(&all[2..]).is_err());
        let twice = names(&[listed("adapter", "time"), listed("adapter", "time")]).unwrap_err();
        assert!(twice.to_string().contains("both made adapters called `time`"), "{twice}");
    }

    #[test]
    fn an_adapters_folder_stays_inside() {
        for name in ["weather", "rank8/weather", "a..b"] {
            assert_eq!(folder_of(name).unwrap(), name);
        }
        for name in ["", ".", "..", "a/../b", "/a", "a/", "a\\b"] {
            assert!(folder_of(name).is_err(), "{name}");
        }
    }
}
