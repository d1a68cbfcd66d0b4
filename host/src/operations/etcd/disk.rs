//! How long a member waits for its disk. On a slow one members miss heartbeats and elect leaders for ever (T14); etcd counts each
//! flush of its log, so nothing has to be written to find out.

/// Prints the histogram; nothing where there is no curl or no member.
pub const SCRIPT: &str = "curl -fsS --max-time 2 http://127.0.0.1:2381/metrics 2>/dev/null | grep '^etcd_disk_wal_fsync_duration_seconds_bucket'";

/// More than this disturbs elections, in milliseconds. Source: <https://etcd.io/docs/v3.6/op-guide/hardware/#disks>.
pub const SLOW_MS: f64 = 10.0;

/// Fewer flushes say nothing about one in a hundred.
const ENOUGH: u64 = 100;

/// The time in milliseconds within which 99 of 100 flushes ended: the bound of a bucket of the histogram. None when there were too
/// few, or when even the widest bucket is too narrow.
pub fn fsync_p99_ms(metrics: &str) -> Option<f64> {
    let bucket = |line: &str| {
        let (bound, count) = line.split_once("le=\"")?.1.split_once("\"} ")?;
        Some((bound.parse::<f64>().ok()?, count.trim().parse::<f64>().ok()? as u64))
    };
    let buckets: Vec<(f64, u64)> = metrics.lines().filter_map(bucket).collect();
    let (_, all) = *buckets.iter().find(|(bound, _)| bound.is_infinite())?;
    let within = buckets.iter().find(|(_, count)| count * 100 >= all * 99)?;
    (all >= ENOUGH && within.0.is_finite()).then_some(within.0 * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(counts: [u64; 4]) -> String {
        let bounds = ["0.001", "0.008", "0.064", "+Inf"];
        let line = |(bound, count)| {
            format!("etcd_disk_wal_fsync_duration_seconds_bucket{{le=\"{bound}\"}} {count}\n")
        };
        bounds.iter().zip(counts).map(line).collect()
    }

    #[test]
    fn slow_disks_show_in_etcd_s_own_histogram_t14() {
        assert_eq!(fsync_p99_ms(&histogram([980, 990, 1000, 1000])), Some(8.0));
        assert_eq!(fsync_p99_ms(&histogram([980, 989, 1000, 1000])), Some(64.0));
        assert_eq!(fsync_p99_ms(&histogram([980, 981, 982, 1000])), None, "beyond all buckets");
        assert_eq!(fsync_p99_ms(&histogram([99, 99, 99, 99])), None, "too few");
        assert_eq!(fsync_p99_ms(""), None);
        let large = histogram([0, 0, 1, 1]).replace(" 1\n", " 1.2e+06\n");
        assert_eq!(fsync_p99_ms(&large), Some(64.0));
    }
}
