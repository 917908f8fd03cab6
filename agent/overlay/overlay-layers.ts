/** The folders of one overlay. */
interface OverlayLayers {
  readonly lower: string
  readonly upper: string
  readonly work: string
}

/**
 * The options that mount(2) wants. Nothing that ties the upper folder to the very lower one of its first mount by
 * file handles or by data (overlayfs.rst, "Changes to underlying filesystems"): a lower one that was fetched into
 * between two mounts, or restored from a backup, stays usable.
 *
 * @param rename folders of the lower one can be renamed: the upper one keeps the former name as an attribute, and
 *   where that leads to nothing any more, the folder has what is in the upper one. Otherwise rename(2) answers EXDEV.
 */
export function overlayOptions({ lower, upper, work }: OverlayLayers, rename: boolean): string {
  return [
    `lowerdir=${escapePath(lower)}`,
    `upperdir=${escapePath(upper)}`,
    `workdir=${escapePath(work)}`,
    'index=off',
    'metacopy=off',
    `redirect_dir=${rename ? 'on' : 'off'}`,
  ].join(',')
}

/** `:` parts lower folders, `,` options, and `\` escapes both (overlayfs.rst, "Multiple lower layers"). */
function escapePath(path: string): string {
  return path.replace(/[\\:,]/g, String.raw`\$&`)
}
