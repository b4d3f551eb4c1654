//! Types may be made by macros, with fields of whatever fragment.
#![deny(warnings)]

use checkpoint::Checkpointable;

macro_rules! state {
    ($name:ident { $($field:ident: $type:ty),* } $extra:tt $default:expr) => {
        #[derive(Checkpointable, Debug, Clone)]
        pub struct $name {
            $(pub $field: $type,)*
            pub list: Vec<($($type,)*)>,
            hidden: $extra,
            #[transient(default = $default)]
            pub cache: u64,
        }

        impl $name {
            pub fn hidden(&self) -> $extra {
                self.hidden
            }
        }
    };
}

state!(Made { first: u64, second: Option<Box<Made>>, third: Vec<u8> } u32 1 + 1);

macro_rules! events {
    ($($variant:ident($type:ty)),*) => {
        #[derive(Checkpointable, Debug)]
        pub enum Event {
            $($variant($type),)*
        }
    };
}

events!(First(u64), Second(Vec<Event>));

fn main() {
    println!("{:?}", (Event::First(1), Event::Second(vec![])));
    let made = Made { first: 1, second: None, third: vec![], list: vec![], hidden: 1, cache: 0 };
    println!("{:?} {}", made, made.hidden());
}
