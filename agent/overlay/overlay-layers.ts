/** The folders of one overlay. */
export interface OverlayLayers {
  readonly lower: string
  readonly upper: string
  readonly work: string
}

/**
 * The options that mount(2) wants. Nothing that ties the upper folder to the very lower one of its first mount
 * (overlayfs.rst, "Changes to underlying filesystems"): a lower one that was fetched into between two mounts, or
 * restored from a backup, stays usable. Renaming a folder of the lower one then answers EXDEV, as in Docker's
 * own containers, and mv(1) copies.
 */
export function overlayOptions({ lower, upper, work }: OverlayLayers): string {
  return [
    `lowerdir=${escapePath(lower)}`,
    `upperdir=${escapePath(upper)}`,
    `workdir=${escapePath(work)}`,
    'index=off',
    'metacopy=off',
    'redirect_dir=off',
  ].join(',')
}

/** `:` parts lower folders, `,` options, and `\` escapes both (overlayfs.rst, "Multiple lower layers"). */
function escapePath(path: string): string {
  return path.replace(/[\\:,]/g, String.raw`\$&`)
}
