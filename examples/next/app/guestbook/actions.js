'use server';

import { revalidatePath } from 'next/cache';
import { sign } from '../../lib/guestbook';

export async function signGuestbook(form) {
  sign(String(form.get('name')));
  revalidatePath('/guestbook');
}
