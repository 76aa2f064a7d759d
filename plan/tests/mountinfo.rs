//! The file system type of a device number.

use mremap_plan::mountinfo::{Device, TypeFinder};

const MOUNTS: &[u8] = b"22 27 0:20 / /sys rw,relatime shared:7 - sysfs sysfs rw\n\
    27 1 254:0 / / rw - ext4 /dev/vda rw\n\
    40 27 0:35 / /mnt/a\\040-\\040b rw,noatime - ramfs ram rw\n\
    41 27 0:36 / /x rw shared:1 master:2 propagate_from:3 - a.very.long.type.of.file.system none rw\n\
    42 27 0:37 / /y rw - ramfs";

fn type_of(device: Device) -> Option<String> {
    let mut finder = TypeFinder::new(device);
    MOUNTS.iter().find_map(|&byte| {
        let found = finder.take(byte)?;
        Some(String::from_utf8_lossy(found).into_owned())
    })
}

#[test]
fn finds_the_type_by_the_device_number() {
    for (device, expected) in [
        ((0, 20), Some("sysfs")),
        ((254, 0), Some("ext4")),
        ((0, 35), Some("ramfs")),
        ((0, 36), Some("a.very.long.type")),
        ((0, 2), None),
        ((35, 0), None),
        // The text ends before the type does.
        ((0, 37), None),
    ] {
        assert_eq!(type_of(device).as_deref(), expected, "{device:?}");
    }
}
