//! Where a blocking command goes.

use std::sync::Arc;

use romaine_commands::Request;

use crate::call::{Place, Target};
use crate::common::Common;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::fleet::{Fleet, Way};
use crate::server::Server;

/// Which server a course begins at, and goes on at.
#[derive(Debug, Clone)]
pub(crate) enum Router {
    One(Arc<Server>),
    Fleet(Arc<Fleet>),
}

impl Router {
    pub(crate) fn of(place: Place<'_>) -> Self {
        match place {
            Place::At(target) => Self::One(target.server.clone()),
            Place::Fleet(fleet) => Self::Fleet(fleet.clone()),
        }
    }

    pub(crate) fn common(&self) -> &Arc<Common> {
        match self {
            Self::One(server) => &server.common,
            Self::Fleet(fleet) => &fleet.common,
        }
    }

    pub(crate) fn place(&self) -> Place<'_> {
        match self {
            Self::One(server) => Place::At(Target::of(server, &server.commands)),
            Self::Fleet(fleet) => Place::Fleet(fleet),
        }
    }

    /// The server for `request` now.
    pub(crate) fn server(&self, request: &Request) -> Result<Arc<Server>> {
        match self {
            Self::One(server) => Ok(server.clone()),
            Self::Fleet(fleet) => match fleet.way(request) {
                Way::To(server) => Ok(server),
                Way::Impossible(why) => Err(Error::usage(why)),
                Way::Scattered(_) => Err(Error::usage("it blocks, and its keys are in different slots")),
                Way::Nowhere(why) => Err(Error::new(ErrorKind::Unavailable, Delivery::NotSent, why)),
            },
        }
    }
}
