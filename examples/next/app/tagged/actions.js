'use server';

import { updateTag } from 'next/cache';

export async function renew(form) {
  updateTag(String(form.get('tag')));
}
