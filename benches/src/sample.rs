//! What one run of one cell gives.

use serde::{Deserialize, Serialize};

use crate::stats::median;

/// Defines the struct once, and with it the median field by field.
macro_rules! sample {
    ($($(#[$doc:meta])+ $field:ident,)+) => {
        /// The figures of one run, or their medians over several. A kind of measurement fills only its own fields.
        #[derive(Clone, Debug, Default, Serialize, Deserialize)]
        pub(crate) struct Sample {
            $($(#[$doc])+ #[serde(default, skip_serializing_if = "Option::is_none")] pub(crate) $field: Option<f64>,)+
        }

        impl Sample {
            /// The median of every field.
            pub(crate) fn median<'a>(samples: impl Iterator<Item = &'a Self> + Clone) -> Self {
                Self { $($field: median(samples.clone().filter_map(|sample| sample.$field)),)+ }
            }
        }
    };
}

sample! {
    /// Commands or messages per second.
    ops_per_s,
    /// Processor time of the client, user and system, per command or message, in microseconds.
    cpu_us_per_op,
    /// Median latency of a turn in microseconds.
    p50_us,
    /// 99th percentile of it.
    p99_us,
    /// Calls of the allocator per command.
    allocations_per_op,
    /// Bytes allocated per command.
    allocated_bytes_per_op,
    /// Messages published but not delivered.
    lost,
    /// Growth of resident memory per connection, in KiB.
    rss_kib_per_connection,
    /// Processor time to set up a connection, in microseconds.
    setup_cpu_us,
    /// Time until all connections were blocked, in seconds.
    setup_s,
    /// Threads of the process at the end.
    threads,
    /// Calls to the healthy primaries per second, before one primary was frozen.
    before_ops_per_s,
    /// The same while it was frozen.
    frozen_ops_per_s,
    /// The latter over the former.
    frozen_ops_ratio,
    /// 99th percentile of the latency of calls to the healthy primaries, before one was frozen, in microseconds; calls that
    /// waiting callers did not make included.
    before_p99_us,
    /// The same while it was frozen.
    frozen_p99_us,
    /// The latter over the former.
    frozen_p99_ratio,
    /// The longest call to a healthy primary while another one was frozen, in microseconds.
    frozen_longest_us,
    /// Calls to the healthy primaries that failed while another one was frozen.
    frozen_failed,
    /// Calls to the frozen primary that ended with an error while it was frozen.
    frozen_given_up,
}
