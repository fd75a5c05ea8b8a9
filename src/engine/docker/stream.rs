//! An image from one engine to another: `GET /images/get` of the one is the body of `POST /images/load` of the other.

use std::io;

use futures_util::TryStreamExt as _;
use http::Method;
use http_body_util::BodyDataStream;

use super::{
    Docker,
    activity::Activity,
    build::{UnreadableContext, observed},
    call::{path_with, request},
};
use crate::{
    engine::{EngineError, LocalImage},
    image::Tagged,
};

impl Docker {
    /// Copies the image of a name to another engine, which then has it under the same name. No more of it is in memory
    /// than the connections buffer.
    ///
    /// # Errors
    /// Every result except an image with the same layers.
    pub async fn stream_to(&self, name: &Tagged, other: &Self) -> Result<LocalImage, EngineError> {
        let doing = format!("copying `{name}` to another engine");
        let failed = |message: &str| EngineError::Answer {
            doing: doing.clone(),
            message: message.to_owned(),
        };
        let text = name.to_string();
        let image =
            self.inspect_image(&text).await?.ok_or_else(|| failed("it has no such image"))?;
        let activity = Activity::begin();
        let copying = async {
            let get = request(Method::GET, &path_with("/images/get", &[("names", &text)]));
            let reply = self.send(get).await?.map_err(|refusal| failed(&refusal.message))?;
            let (response, _connection) = reply.into_parts();
            let unreadable = UnreadableContext::default();
            let pieces = BodyDataStream::new(response.into_body()).map_err(io::Error::other);
            let archive = observed(pieces, &activity, &unreadable);
            let loaded = other.post_archive(&doing, archive, &activity).await;
            // An archive that broke off is the cause of whatever the other engine answers.
            match unreadable.take() {
                Some(message) => Err(failed(&message)),
                None => loaded,
            }
        };
        tokio::select! {
            copied = copying => copied?,
            () = activity.silent_for(self.idle) => {
                return Err(EngineError::Silent { doing, after: self.idle });
            }
        }
        match other.inspect_image(&text).await? {
            Some(copy) if copy.layers == image.layers => Ok(copy),
            Some(_) => Err(failed("the other engine has an image with other layers")),
            None => Err(failed("the other engine does not have it then")),
        }
    }
}
