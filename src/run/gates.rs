//! The gates of a candidate: commands of this machine, after its tests and before it is stored.

use std::{ffi::OsString, fs, io, path::PathBuf};

use tempfile::NamedTempFile;
use tokio::time::Instant;

use super::{
    attempts::StepRetry,
    host_command::HostCommand,
    prepare::FOLDER_PREFIX,
    step::{Done, Work},
    step_events::Tell,
    trouble::{Trouble, exit_of},
};
use crate::{
    engine::Engine,
    event::Phase,
    exit::Exit,
    hierarchy::{Node, command_line},
    image::{Digest, Tagged},
    layers::oci_archive,
    publish::store::Store,
};

impl<E: Engine, S: Store> Work<'_, E, S> {
    /// Runs each gate once for a candidate.
    pub(super) async fn pass_gates(&self, done: &mut Done, tell: &mut Tell) -> Result<(), Trouble> {
        let gates: Vec<_> = self.shop.hierarchy.gates_with_origin(&self.step.node).collect();
        let Some(candidate) = done.candidate.as_ref().filter(|_| !gates.is_empty()) else {
            return Ok(());
        };
        if done.is_past_gates {
            return Ok(());
        }
        let began = Instant::now();
        let _place = self.ahead.may_test(|| tell.phase(Phase::WaitForTestJob)).await;
        done.waited += began.elapsed();
        let (id, total) = (candidate.image.id.clone(), gates.len());
        let name = self.bases.pin(&*self.shop.engine, self.node().name.as_str(), &id).await;
        let name = name.map_err(Trouble::of_build)?;
        let mut archive = None;
        done.reports.clear();
        for (number, (origin, gate)) in (1..).zip(gates) {
            let phase = Phase::Gate { number, total };
            let of = self.inherited_from(origin);
            let heading = format!("gate {number} of {total}{of}");
            tell.phase_with(phase.clone(), &format!("{heading}: {}", command_line(&gate.run)));
            if gate.archive && archive.is_none() {
                archive = Some(self.archive(&id, &phase).await?);
            }
            let failed = |message: String| Trouble {
                phase: phase.clone(),
                message: format!("{heading}: {message}"),
                exit: Exit::TestFailed,
                step: None,
                again: StepRetry::Asked,
            };
            let report = self.report(number).map_err(|error| failed(error.to_string()))?;
            let mut variables = self.variables((&name, &id));
            variables.push(("REBUILD_REPORT", report.clone().into_os_string()));
            if gate.archive {
                let path = archive.as_ref().map(|file| file.path().as_os_str().to_owned());
                variables.extend(path.map(|path| ("REBUILD_ARCHIVE", path)));
            }
            let (folder, timeout) = (self.shop.hierarchy.root(), gate.timeout);
            let command = HostCommand { argv: &gate.run, folder, variables, timeout };
            let passed = command.run(|bytes| tell.output(bytes)).await;
            let report = report.is_file().then_some(report);
            done.reports.extend(report.clone());
            passed.map_err(|error| {
                let report = report.map(|path| format!("; report: {}", path.display()));
                failed(format!("{error}{}", report.unwrap_or_default()))
            })?;
        }
        done.is_past_gates = true;
        Ok(())
    }

    /// ` (of `toolbox`)` for a test or a gate that the entry of another image has.
    pub(super) fn inherited_from(&self, origin: &Node) -> String {
        let image = origin.name.image();
        if origin.name == self.step.node { String::new() } else { format!(" (of `{image}`)") }
    }

    fn variables(&self, (name, id): (&Tagged, &Digest)) -> Vec<(&'static str, OsString)> {
        let parents = self.shop.hierarchy.parents(&self.step.node);
        let parents: Vec<&str> = parents.map(|parent| parent.name.as_str()).collect();
        vec![
            ("REBUILD_NODE", self.step.node.as_str().into()),
            ("REBUILD_IMAGE", name.to_string().into()),
            ("REBUILD_IMAGE_ID", id.as_str().into()),
            ("REBUILD_PARENTS", parents.join(" ").into()),
        ]
    }

    /// Where a gate may write its report: beside the log. That of an earlier attempt is removed.
    fn report(&self, number: usize) -> io::Result<PathBuf> {
        let path = self.shop.run.report(self.step.node.as_str(), number)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(path),
        }
    }

    /// Writes the image as an OCI archive, which is removed when the result is dropped.
    async fn archive(&self, image: &Digest, phase: &Phase) -> Result<NamedTempFile, Trouble> {
        let failed = |message: String, exit, again| Trouble {
            phase: phase.clone(),
            message: format!("the OCI archive of the image: {message}"),
            exit,
            step: None,
            again,
        };
        let prefix = format!("{FOLDER_PREFIX}{}-", self.shop.run.id);
        let file = tempfile::Builder::new().prefix(&prefix).suffix(".tar").tempfile();
        let file = file.and_then(|file| Ok((file.reopen()?, file)));
        let (mut out, file) =
            file.map_err(|error| failed(error.to_string(), Exit::TestFailed, StepRetry::Never))?;
        let write = move |archive: &mut dyn io::Read| oci_archive(archive, &mut out);
        let written = self.shop.engine.export(vec![image.clone()], write).await;
        written.map_err(|error| {
            let (exit, again) =
                (exit_of(&error, Exit::TestFailed), StepRetry::after_engine(&error));
            failed(error.to_string(), exit, again)
        })?;
        Ok(file)
    }
}
