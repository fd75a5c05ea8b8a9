//! What a container of ours may do: a test, or a question to an image.
//!
//! It gets no socket, no new privileges, fewer capabilities than the engine's default, and limits on
//! memory, processes, processors and, where the engine can, on the disk. What it runs was built a
//! moment ago from files of a change. `docs/security.md` says what remains.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bollard::{
    errors::Error,
    models::{ContainerCreateBody, HostConfig, HostConfigLogConfig},
    query_parameters::CreateContainerOptionsBuilder,
};

use super::container::{RUN_LABEL, name_prefix};
use crate::host::random;

const PROCESSES: i64 = 512;
/// Microseconds of processor time in each [`PERIOD`]: two processors.
const QUOTA: i64 = 2 * PERIOD;
const PERIOD: i64 = 100_000;
/// Of what a container writes beside its image, as docker writes sizes.
const DISK: (&str, &str) = ("size", "10G");
/// What docker gives by default and no test needs: device files, packets of its own making, the audit
/// log, capabilities for files, and another root folder.
const DROPPED: [&str; 5] = ["MKNOD", "NET_RAW", "AUDIT_WRITE", "SETFCAP", "SYS_CHROOT"];

/// Which limits the engine can set.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// Rootless podman fails where the system did not hand it the controller of processors.
    pub(super) processors: bool,
    /// Storage drivers differ and none says so: it is tried once.
    disk: Arc<AtomicBool>,
}

impl Limits {
    pub(super) fn new(processors: bool) -> Self {
        Self { processors, disk: Arc::new(AtomicBool::new(true)) }
    }
}

/// With this network and so much memory, in bytes. `log` is how much of what it prints is kept, as
/// docker writes sizes.
pub(super) fn confined(limits: &Limits, network: &str, memory: i64, log: &str) -> HostConfig {
    // Whatever the daemon's default: `/logs` must work, and the disk stay free.
    let log = HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(HashMap::from([("max-size".to_owned(), log.to_owned())])),
    };
    HostConfig {
        network_mode: Some(network.to_owned()),
        memory: Some(memory),
        // The same: no swap on top.
        memory_swap: Some(memory),
        pids_limit: Some(PROCESSES),
        cpu_period: limits.processors.then_some(PERIOD),
        cpu_quota: limits.processors.then_some(QUOTA),
        cap_drop: Some(DROPPED.map(str::to_owned).into()),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        log_config: Some(log),
        ..Default::default()
    }
}

/// Makes a container, with a limit on its disk where the engine can set one.
pub(super) async fn create(
    api: &bollard::Docker,
    limits: &Limits,
    mut body: ContainerCreateBody,
) -> Result<String, Error> {
    // Podman stops a container before it removes it, even with `force`, and waits 10 s for its command to end.
    body.stop_timeout = Some(0);
    let run = body.labels.as_ref().and_then(|labels| labels.get(RUN_LABEL));
    let prefix = name_prefix(run.map_or("", String::as_str));
    let name = format!("{prefix}{:032x}", random::bits());
    let options = Some(CreateContainerOptionsBuilder::default().name(&name).build());
    if limits.disk.load(Ordering::Relaxed) {
        let mut limited = body.clone();
        let disk = HashMap::from([(DISK.0.to_owned(), DISK.1.to_owned())]);
        limited.host_config.get_or_insert_default().storage_opt = Some(disk);
        match api.create_container(options.clone(), limited).await {
            // 404: the image is missing.
            Err(Error::DockerResponseServerError { status_code, .. }) if status_code != 404 => {}
            made => return made.map(|made| made.id),
        }
    }
    let made = api.create_container(options, body).await?;
    // It was the limit on the disk that the engine refused.
    limits.disk.store(false, Ordering::Relaxed);
    Ok(made.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_have_limits_and_no_privileges() {
        let host = confined(&Limits::new(true), "none", 7, "1m");
        assert_eq!((host.memory, host.memory_swap, host.pids_limit), (Some(7), Some(7), Some(512)));
        assert_eq!((host.cpu_period, host.cpu_quota), (Some(100_000), Some(200_000)));
        assert_eq!(host.security_opt, Some(vec!["no-new-privileges".to_owned()]));
        assert_eq!(host.network_mode.as_deref(), Some("none"));
        assert_eq!((host.privileged, host.cap_add, host.binds, host.devices), Default::default());
        assert_eq!(confined(&Limits::new(false), "none", 7, "1m").cpu_quota, None);
    }
}
