//! How much memory there is.

use std::fs;
use std::path::Path;

/// The bytes that this process may still take, if the system tells: memory that is free or can be freed, within the limits of
/// its control groups and of its address space. Known on Linux only.
pub fn available_memory() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| kibibytes(&text, "MemAvailable:"));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups = groups.lines().filter_map(|line| group(line, Path::new("/sys/fs/cgroup"))).min();
    let limits = fs::read_to_string("/proc/self/limits").ok().and_then(|text| address_space(&text));
    [machine, groups, limits].into_iter().flatten().min()
}

/// The number in a line such as `MemAvailable:  1024 kB`, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The soft limit of the address space.
fn address_space(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The bytes that the control group of a line of `/proc/self/cgroup` leaves: `0::/path` in version 2, `4:memory:/path` in
/// version 1. A limit holds for all groups below, so the smallest on the way to the root counts. In a container the path may be
/// that of the host, while the root is the container's.
fn group(line: &str, root: &Path) -> Option<u64> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let (root, names) = match controllers {
        "" => (root.to_path_buf(), ["memory.max", "memory.current", "inactive_file"]),
        _ if controllers.split(',').any(|name| name == "memory") => {
            (root.join("memory"), ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"])
        }
        _ => return None,
    };
    let path = root.join(path.trim_start_matches('/'));
    path.ancestors().take_while(|folder| folder.starts_with(&root)).filter_map(|folder| left(folder, names)).min()
}

/// The bytes that the limit of one control group leaves. Cached files can be freed, so they do not count as used.
fn left(folder: &Path, [limit, used, cached]: [&str; 3]) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cached = stat.lines().find_map(|line| line.strip_prefix(cached)?.trim().parse::<u64>().ok()).unwrap_or(0);
    let used = number(used)?.saturating_sub(cached);
    Some(number(limit)?.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_on_the_way_to_the_root_counts() {
        let temp = tempfile::tempdir().expect("a folder");
        let inner = temp.path().join("job/step");
        fs::create_dir_all(&inner).expect("made");
        let write = |folder: &Path, name: &str, text: &str| fs::write(folder.join(name), text).expect("written");
        write(&inner, "memory.max", "max\n");
        write(&inner, "memory.current", "10\n");
        write(&temp.path().join("job"), "memory.max", "1000\n");
        write(&temp.path().join("job"), "memory.current", "700\n");
        write(&temp.path().join("job"), "memory.stat", "anon 5\ninactive_file 200\n");
        assert_eq!(group("0::/job/step", temp.path()), Some(500));
        assert_eq!(group("3:cpu:/job", temp.path()), None);
        let old = temp.path().join("memory/job");
        fs::create_dir_all(&old).expect("made");
        write(&old, "memory.limit_in_bytes", "400\n");
        write(&old, "memory.usage_in_bytes", "100\n");
        assert_eq!(group("4:memory:/job", temp.path()), Some(300));
        assert_eq!(group("4:memory:/elsewhere/job", temp.path()), None);
    }

    #[test]
    fn lines_of_proc_are_understood() {
        assert_eq!(kibibytes("MemTotal: 9 kB\nMemAvailable:   2 kB\n", "MemAvailable:"), Some(2048));
        assert_eq!(address_space("Max address space         4096                 unlimited            bytes\n"), Some(4096));
        assert_eq!(address_space("Max address space         unlimited            unlimited            bytes\n"), None);
    }
}
