import { notFound, permanentRedirect, redirect } from 'next/navigation';
import { play } from './script';

// What a page of the app router is to show, unless it leads elsewhere.
export async function post(path) {
  const played = await play(path);
  if (played.does === 'gone') {
    notFound();
  }
  if (played.does === 'redirect') {
    redirect(played.to);
  }
  if (played.does === 'move') {
    permanentRedirect(played.to);
  }
  return played;
}
