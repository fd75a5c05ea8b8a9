//! A question to an image: a command in a throw-away container, and all that it prints.
//!
//! As locked up as a test, but as root, since indexes of packages are root's, and with more memory:
//! dnf unpacks the index of a whole distribution. None of the image's own settings decide what runs.

use std::collections::HashMap;

use bollard::{
    container::LogOutput,
    models::ContainerCreateBody,
    query_parameters::{LogsOptions, LogsOptionsBuilder},
};
use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::{
    Docker,
    confined::{Limits, confined},
    container::{Container, RUN_LABEL, no_healthcheck},
};
use crate::{
    engine::{EngineError, ImageCommand, Network, ProbeOutput},
    image::Digest,
};

const MEMORY: i64 = 2 << 30;
/// Each line is kept as JSON, which takes a multiple of a short line. Beyond this size the engine
/// throws the beginning away.
const LOG: &str = "128m";
/// A list of ten thousand packages is half a megabyte.
const MOST_OUTPUT: usize = 8 << 20;
const DOING: &str = "probing";

impl Docker {
    pub(super) async fn probe_image(
        &self,
        image: &Digest,
        probe: &ImageCommand,
        run: &str,
    ) -> Result<ProbeOutput, EngineError> {
        let container = Container::create(self, body(image, probe, (run, &self.limits))).await?;
        let result = self.probe_in(&container, probe).await;
        container.remove_after(&result).await;
        result
    }

    async fn probe_in(
        &self,
        container: &Container,
        probe: &ImageCommand,
    ) -> Result<ProbeOutput, EngineError> {
        container.start(self).await?;
        let Ok(ended) = timeout(probe.timeout, container.wait(self)).await else {
            container.kill(self).await?;
            let doing = DOING.to_owned();
            return Err(EngineError::TimedOut { doing, after: probe.timeout });
        };
        ended?;
        let state = container.state(self).await?;
        let (Some(false), Some(exit_code)) = (state.running, state.exit_code) else {
            return Err(refused("the container has ended, and then that it still runs"));
        };
        if state.oom_killed == Some(true) {
            let limit = format!("out of memory (the limit is {} MiB)", MEMORY >> 20);
            return Err(refused(&limit));
        }
        let (stdout, stderr) = self.patiently(DOING, self.printed(&container.id)).await?;
        Ok(ProbeOutput { stdout, stderr, exit_code })
    }

    /// What a container printed, all of it: what is cut off would be misread.
    async fn printed(&self, id: &str) -> Result<(Vec<u8>, Vec<u8>), EngineError> {
        let options: LogsOptions = LogsOptionsBuilder::default().stdout(true).stderr(true).build();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut pieces = std::pin::pin!(self.api.logs(id, Some(options)));
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| self.answer(DOING, error))?;
            let stream =
                if matches!(piece, LogOutput::StdErr { .. }) { &mut stderr } else { &mut stdout };
            stream.extend_from_slice(piece.as_ref());
            if stdout.len() + stderr.len() > MOST_OUTPUT {
                let most = MOST_OUTPUT >> 20;
                return Err(refused(&format!("it printed more than {most} MiB")));
            }
        }
        Ok((stdout, stderr))
    }
}

fn refused(message: &str) -> EngineError {
    EngineError::Answer { doing: DOING.to_owned(), message: message.to_owned() }
}

fn body(
    image: &Digest,
    probe: &ImageCommand,
    (run, limits): (&str, &Limits),
) -> ContainerCreateBody {
    let network = match probe.network {
        Network::None => "none",
        Network::Default => "default",
    };
    ContainerCreateBody {
        image: Some(image.to_string()),
        // An entry point without a command also takes the image's command away.
        entrypoint: Some(probe.argv.clone()),
        user: Some("0:0".to_owned()),
        working_dir: Some("/".to_owned()),
        healthcheck: Some(no_healthcheck()),
        labels: Some(HashMap::from([(RUN_LABEL.to_owned(), run.to_owned())])),
        host_config: Some(confined(limits, network, MEMORY, LOG)),
        ..Default::default()
    }
}
