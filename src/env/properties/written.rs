//! What was asked for as the operator writes it.

use super::*;

impl Asked {
    /// By way of the text that the operator would write.
    pub fn policy(&self) -> Policy {
        let template =
            |reference: &Reference| Template::reference(&reference.written()).expect("it is well written");
        let assigned = |parts: &[Part]| {
            let text: String = parts.iter().map(Part::written).collect();
            match Template::parse(&text).expect("it is well written") {
                Some(template) => Assigned::Template(template),
                None => Assigned::Text(text),
            }
        };
        let file = |(number, lines): (usize, &Vec<(String, Vec<Part>)>)| EnvFile {
            path: format!("file{number}"),
            assignments: lines
                .iter()
                .enumerate()
                .map(|(line, (name, parts))| Assignment {
                    name: name.clone(),
                    value: assigned(parts),
                    line: line + 1,
                })
                .collect(),
        };
        Policy {
            selection: self.selection.clone(),
            naming: self.naming.clone(),
            maps: self.maps.iter().map(|(name, reference)| (name.clone(), template(reference))).collect(),
            files: self
                .delivered
                .iter()
                .map(|(name, reference)| FileRule {
                    name: name.clone(),
                    template: template(reference),
                    mode: 0o400,
                    owner: None,
                    path: None,
                })
                .collect(),
            env_files: self.files.iter().enumerate().map(file).collect(),
            resolve_env: self.resolve_env.clone(),
            required: self.required.clone(),
            optional: self.optional.clone(),
            inherit: self.inherit.clone(),
            on_conflict: self.on_conflict,
            allowed_names: self.allowed_names.clone(),
        }
    }
}

impl Reference {
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Id { field, .. } | Self::Key { field, .. } => field.as_deref(),
        }
    }

    fn written(&self) -> String {
        // Everything may be encoded, and these must be.
        let encoded = |part: &str| -> String {
            let must = |c: char| "/#|}%$".contains(c) || c.is_control();
            let encode = |c: char| -> String {
                let bytes = c.to_string().into_bytes();
                if must(c) { bytes.iter().map(|byte| format!("%{byte:02x}")).collect() } else { c.into() }
            };
            part.chars().map(encode).collect()
        };
        let target = match self {
            Self::Id { id, .. } => id_text(*id),
            Self::Key { project: Some(project), key, .. } => format!("{}/{}", encoded(project), encoded(key)),
            Self::Key { project: None, key, .. } => encoded(key),
        };
        self.field().map_or(target.clone(), |field| format!("{target}#/{field}"))
    }

    /// Reads those that `inherited` has.
    pub fn read(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let (project, key) = match parts[..] {
            [key] => (None, key),
            [project, key] => (Some(project.to_owned()), key),
            _ => return None,
        };
        (!key.is_empty()).then(|| Self::Key { project, key: key.to_owned(), field: None })
    }
}

impl Part {
    fn written(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Whole(reference) => format!("bws://{}", reference.written()),
            Self::Inside { reference, urlencode } => {
                format!("${{bws://{}{}}}", reference.written(), if *urlencode { "|urlencode" } else { "" })
            }
        }
    }
}
