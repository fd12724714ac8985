//! Whether a device still lives.

use futures::FutureExt;

/// Whether wgpu still works on a device.
///
/// wgpu tells of a loss through the lost-callback alone, which is the host's where the device is, and which runs inside a later
/// poll; everything else on a lost device fails in silence. That is the sign: a mistake is an error on a device that lives, and
/// nothing on one that is lost. The mistake here is a set of more queries than any device allows; nothing is made of it.
///
/// A browser answers later. A device without an answer counts as alive, since there the lost-callback always runs.
pub(super) fn beats(device: &wgpu::Device) -> bool {
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let count = wgpu::QUERY_SET_MAX_QUERIES + 1;
    let _ = device.create_query_set(&wgpu::QuerySetDescriptor { label: Some("pulse"), ty: wgpu::QueryType::Occlusion, count });
    scope.pop().now_or_never().is_none_or(|mistake| mistake.is_some())
}
