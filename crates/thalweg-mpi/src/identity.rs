//! What has to be the same on all ranks, compared before the first step.

use crate::error::{Error, Result};
use crate::world::World;
use std::fs;
use std::path::Path;

/// What all ranks must have in common: names, each with a text or with a digest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    parts: Vec<(String, String)>,
}

impl Identity {
    /// Adds something that has to be the same, as text.
    pub fn with(mut self, what: &str, text: impl Into<String>) -> Self {
        let plain = |text: String| text.replace(['\n', '\t'], " ");
        self.parts.push((plain(what.into()), plain(text.into())));
        self
    }

    /// Adds something that has to be the same, by its digest.
    pub fn with_digest(self, what: &str, bytes: &[u8]) -> Self {
        self.with(what, format!("digest {}", blake3::hash(bytes).to_hex()))
    }

    /// Compares all ranks with rank 0.
    ///
    /// # Errors
    /// [`Error::Differs`] for the first thing that differs, on all ranks.
    pub fn compare(&self, world: &World) -> Result<()> {
        let text: Vec<String> = self.parts.iter().map(|(what, text)| format!("{what}\t{text}")).collect();
        let all = world.texts("what ranks have in common", &text.join("\n"))?;
        let lists: Vec<Vec<(&str, &str)>> = all.iter().map(|text| parts(text)).collect();
        let of =
            |rank: usize, what: &str| lists[rank].iter().find(|(known, _)| *known == what).map_or("nothing", |(_, text)| *text);
        for &(what, _) in lists.iter().flatten() {
            if let Some(rank) = (0..lists.len()).find(|&rank| of(rank, what) != of(0, what)) {
                let (found, expected) = (of(rank, what).into(), of(0, what).into());
                return Err(Error::Differs { what: what.into(), rank, found, expected });
            }
        }
        Ok(())
    }
}

fn parts(text: &str) -> Vec<(&str, &str)> {
    text.lines().map(|line| line.split_once('\t').unwrap_or((line, ""))).collect()
}

/// What of this machine's processor decides how products are rounded: its vector instructions, and the sizes of its caches, by
/// which products are cut into blocks.
pub fn processor() -> String {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default().trim().to_string();
    let info = read(Path::new("/proc/cpuinfo"));
    let flags = info.lines().find(|line| line.starts_with("flags") || line.starts_with("Features")).unwrap_or_default();
    let known = ["sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl", "asimd", "sve"];
    let own: Vec<&str> = flags.split_whitespace().filter(|flag| known.contains(flag)).collect();
    let caches = (0..8).filter_map(|index| {
        let folder = format!("/sys/devices/system/cpu/cpu0/cache/index{index}");
        let [level, kind, size] = ["level", "type", "size"].map(|name| read(&Path::new(&folder).join(name)));
        (!size.is_empty()).then(|| format!("L{level} {kind} {size}"))
    });
    format!("{}, {}; {}", std::env::consts::ARCH, own.join(" "), caches.collect::<Vec<_>>().join(", "))
}

impl Identity {
    /// Joins two of them.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.parts.extend(other.parts);
        self
    }
}
