//! What to do where no adapter is found; it depends on the card in the machine.

const NVIDIA: u32 = 0x10de;
const AMD: u32 = 0x1002;
const INTEL: u32 = 0x8086;

/// What to do about a missing adapter, in one line; `software`: there is a software driver.
pub(super) fn remedy(software: bool) -> String {
    of(vendor(), software)
}

fn of(vendor: Option<u32>, software: bool) -> String {
    match (vendor, software) {
        (Some(NVIDIA), _) => {
            "there is an NVIDIA card: install NVIDIA's driver with its Vulkan part (Debian: apt-get install \
                              nvidia-driver libvulkan1; in a container: NVIDIA_DRIVER_CAPABILITIES=all), or use the CPU engine"
        }
        (Some(_), _) | (None, false) => {
            "install a Vulkan driver (Debian: apt-get install mesa-vulkan-drivers libvulkan1) or use the CPU engine"
        }
        (None, true) => "use the CPU engine, which is faster than such a driver, or ask for it (GpuOptions::allow_cpu; on the command line --engine gpu)",
    }
    .into()
}

/// The PCI number of a card's vendor, where Linux knows of a card; NVIDIA's first, since Debian's drivers are not for its
/// cards.
fn vendor() -> Option<u32> {
    let devices = std::fs::read_dir("/sys/bus/pci/devices").ok()?.flatten().map(|entry| entry.path());
    let read = |device: &std::path::Path, name| std::fs::read_to_string(device.join(name)).ok();
    // Class 3 is that of displays.
    let cards = devices.filter(|device| read(device, "class").is_some_and(|class| class.starts_with("0x03")));
    let vendors = cards.filter_map(|card| u32::from_str_radix(read(&card, "vendor")?.trim().trim_start_matches("0x"), 16).ok());
    vendors.filter(|vendor| [NVIDIA, AMD, INTEL].contains(vendor)).min_by_key(|&vendor| vendor != NVIDIA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_is_for_the_card_that_is_there() {
        assert!(of(Some(NVIDIA), true).contains("nvidia-driver") && !of(Some(NVIDIA), false).contains("mesa"));
        assert!(of(Some(AMD), true).contains("mesa-vulkan-drivers") && of(None, false).contains("mesa-vulkan-drivers"));
        // A software driver is there already.
        assert!(!of(None, true).contains("apt-get"));
    }
}
