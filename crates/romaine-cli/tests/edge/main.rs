//! The agent, the fleet and rollouts as their users see them: the program itself, against real servers.

mod agent;
mod end_to_end;
mod refusals;
mod rollouts;
mod support;
