//! `/proc/PID/mountinfo`: the file system type of a device number.
//! a device number.

/// A device number, major and minor.
pub type Device = (u32, u32);

/// Longest type that is returned whole, in bytes.
const NAME_ROOM: usize = 16;
/// Index of the device field.
const DEVICE_FIELD: u32 = 2;

/// Finds a device's file system type. It takes one byte at a time, so that a line may be of any
/// length.
///
/// ```text
/// 36 35 0:31 / /mnt rw,noatime shared:1 - tmpfs none rw
///       device                         ^ the next field is the type
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TypeFinder {
    device: Device,
    field: u32,
    is_device: bool,
    behind_separator: bool,
    text: [u8; NAME_ROOM],
    len: usize,
}

impl TypeFinder {
    /// Starts looking for `device`.
    pub const fn new(device: Device) -> Self {
        Self {
            device,
            field: 0,
            is_device: false,
            behind_separator: false,
            text: [0; NAME_ROOM],
            len: 0,
        }
    }

    /// Takes the file's next byte. Returns the type, cut to 16 bytes, at the byte that completes
    /// it. is known.
    pub fn take(&mut self, byte: u8) -> Option<&[u8]> {
        match byte {
            b' ' => {
                if self.is_device && self.behind_separator {
                    return self.text.get(..self.len);
                }
                self.end_field();
            }
            b'\n' => *self = Self::new(self.device),
            _ => {
                if let Some(place) = self.text.get_mut(self.len) {
                    *place = byte;
                    self.len += 1;
                }
            }
        }
        None
    }

    fn end_field(&mut self) {
        let text = self.text.get(..self.len).unwrap_or(&[]);
        if self.field == DEVICE_FIELD {
            self.is_device = parse_device(text) == Some(self.device);
        } else if text == b"-" {
            self.behind_separator = true;
        }
        self.field += 1;
        self.len = 0;
    }
}

fn parse_device(text: &[u8]) -> Option<Device> {
    let colon = text.iter().position(|&byte| byte == b':')?;
    Some((decimal(text.get(..colon)?)?, decimal(text.get(colon + 1..)?)?))
}

fn decimal(text: &[u8]) -> Option<u32> {
    let mut value = 0u32;
    for &byte in text {
        let digit = char::from(byte).to_digit(10)?;
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    Some(value).filter(|_| !text.is_empty())
}
